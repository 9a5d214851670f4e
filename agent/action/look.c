/*
 * look.c
 *		pg.look: what a failover has to know of each node.
 *
 * Asked now, not what a sampler saw: a primary must not be replaced, and a target not be chosen, by old news. Whether
 * the old primary can be reached is tried from here by libpq's ping: a server that refuses us (it is starting, it has
 * no place left, it wants a password) is there all the same.
 */
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/action/look.h"
#include "agent/arbiter/arbiter.h"
#include "agent/core/clock.h"
#include "agent/core/nodestate.h"
#include "agent/facts/attempt.h"
#include "agent/job/claim.h"
#include "agent/job/epoch.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "common/names.h"
#include "common/sqlstate.h"

#define LOOK_TIMEOUT_MS 2000
#define REACH_MS 4000			/* a name server may be as dead as the host */
#define REACH_SECONDS "2"		/* the least that libpq takes */

/* The startup process that waits for WAL has replayed all that there is. */
#define LOOK_SQL \
	"SELECT r, CASE WHEN r THEN greatest(c.timeline_id, " STANDBY_TIMELINE_SQL ") " \
	"ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int " \
	"END, CASE WHEN r THEN greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn()) " \
	"ELSE pg_catalog.pg_current_wal_lsn() END, " \
	"CASE WHEN r THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, " \
	"r AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.backend_type = 'startup' " \
	"AND a.wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')), " \
	"w.status IS NOT DISTINCT FROM 'streaming', pg_catalog.concat_ws(':', w.sender_host, w.sender_port), " \
	"(extract(epoch FROM pg_catalog.clock_timestamp() - w.last_msg_receipt_time) * 1000)::pg_catalog.float8, " \
	"s.system_identifier, pg_catalog.current_setting('synchronous_standby_names') " \
	"FROM pg_catalog.pg_is_in_recovery() r, pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_system() s " \
	"LEFT JOIN pg_catalog.pg_stat_wal_receiver w ON true"

static void
put_text(json_t *result, const char *name, const char *text)
{
	json_object_set_new(result, name, json_string(text ? text : ""));
}

static bool
cell_is_true(PGresult *res, int column)
{
	return strcmp(PQgetvalue(res, 0, column), "t") == 0;
}

/* By the walreceiver that runs, or by what the sampler has seen of one that is gone. -1: nobody has. */
static double
heard_ms(PGresult *res)
{
	double		streamed = nodestate_get().streamed_ms;

	if (!PQgetisnull(res, 0, 7))
		return strtod(PQgetvalue(res, 0, 7), NULL);
	return streamed > 0 ? clock_realtime_ms() - streamed : -1;
}

static void
put_server(ActionContext *ctx, PGconn *conn, PGresult *res, json_t *result)
{
	char		run[80] = "";
	unsigned long long lsn;
	bool		standby = cell_is_true(res, 0);
	double		heard = heard_ms(res);

	put_text(result, "role", standby ? "standby" : server_seal(ctx->pg, conn, run, sizeof(run), &lsn) ? "sealed" :
			 "primary");
	json_object_set_new(result, "timeline", json_integer(atoi(PQgetvalue(res, 0, 1))));
	put_text(result, "received", PQgetvalue(res, 0, 2));
	put_text(result, "replayed", PQgetvalue(res, 0, 3));
	json_object_set_new(result, "replaying", json_boolean(cell_is_true(res, 4)));
	json_object_set_new(result, "streaming", json_boolean(cell_is_true(res, 5)));
	put_text(result, "sender", PQgetvalue(res, 0, 6));
	if (standby && heard >= 0)
		json_object_set_new(result, "heard_ms", json_real(heard));
	put_text(result, "system", PQgetvalue(res, 0, 8));
	put_text(result, "sync_names", PQgetvalue(res, 0, 9));
}

static void
look_at_server(ActionContext *ctx, json_t *result)
{
	char		error[256] = "";
	PGconn	   *conn = pg_local(ctx->pg, NULL, LOOK_TIMEOUT_MS, error, sizeof(error));
	PGresult   *res = conn ? pg_query(conn, error, sizeof(error), LOOK_SQL, 0, NULL) : NULL;
	bool		running = res || control_running(ctx->pg);

	json_object_set_new(result, "running", json_boolean(running));
	if (res && PQntuples(res) == 1)
		put_server(ctx, conn, res, result);
	else
	{
		put_text(result, "role", running ? "unknown" : "down");
		put_text(result, "error", error);
	}
	PQclear(res);
	PQfinish(conn);
}

/* ---- the old primary, from here ---- */

static json_t *
reach(const PgInstance *pg, json_t *params)
{
	char		port[16];
	const char *names[] = {"host", "port", "dbname", "connect_timeout", NULL};
	const char *values[] = {param_string(params, "host", ""), port, "postgres", REACH_SECONDS, NULL};
	PGPing		answer;

	(void) pg;
	snprintf(port, sizeof(port), "%d", (int) param_int(params, "port", 0));
	answer = PQpingParams(names, values, 0);
	return json_pack("{s:b, s:s}", "reached", answer == PQPING_OK || answer == PQPING_REJECT, "error",
					 answer == PQPING_OK ? "" : answer == PQPING_REJECT ? "it refuses connections" : "no answer");
}

static json_t *
hook_names(const AgentConfig *config)
{
	json_t	   *names = json_array();

	for (int i = 0; i < config->n_hooks; i++)
		json_array_append_new(names, json_string(config->hooks[i].name));
	return names;
}

int
action_pg_look(ActionContext *ctx, json_t *params, json_t *result)
{
	json_t	   *primary = json_object_get(params, "primary");
	double		deadline = clock_monotonic_ms() + REACH_MS;
	Attempt    *attempt = NULL;
	ClaimNow	claim = claim_current(ctx->config);
	json_t	   *answer;

	if (primary && (!param_string(primary, "host", NULL) || param_int(primary, "port", 0) < 1))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"primary\" needs a host and a port");
	if (primary)
		attempt = attempt_begin(reach, ctx->config, ctx->pg, primary);
	json_object_set_new(result, "epoch", json_integer(epoch_current()));
	json_object_set_new(result, "claimed", json_integer(claim.highest.epoch));
	put_text(result, "claimed_by", claim.highest.run);
	if (arbiter_configured(ctx->config))
		json_object_set_new(result, "arbiter", arbiter_word(ctx->config));
	json_object_set_new(result, "hooks", hook_names(ctx->config));
	if (ctx->pg)
		look_at_server(ctx, result);
	else
		put_text(result, "role", "none");
	if (!attempt)
		return 0;
	answer = attempt_end(attempt, deadline);
	json_object_set_new(result, "reach", answer ? answer :
						json_pack("{s:b, s:s}", "reached", 0, "error", "no answer in time"));
	return 0;
}
