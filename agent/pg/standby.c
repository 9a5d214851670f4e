/*
 * standby.c
 *		An upstream and how a standby gets to it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"
#include "agent/job/params.h"
#include "agent/pg/formats.h"
#include "agent/pg/pg.h"
#include "agent/pg/standby.h"
#include "common/sqlstate.h"

#define POLL_MS 2
#define STEADY_MS 2000
#define AUTO_CONF_MAX (1024 * 1024)

static bool
plain_word(const char *text)
{
	return *text && strlen(text) < 256 && !strpbrk(text, " '\"\\\r\n\t=,");
}

int
upstream_read(ActionContext *ctx, json_t *params, Upstream *upstream)
{
	int64_t		port = param_int(params, "port", 0);

	upstream->host = param_string(params, "host", "");
	upstream->slot = param_string(params, "slot", NULL);
	upstream->name = param_string(params, "name", ctx->config->node);
	if (!plain_word(upstream->host) || port < 1 || port > 65535)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"host\" and \"port\" must name the upstream server");
	if (upstream->slot && !*upstream->slot)
		upstream->slot = NULL;
	if (upstream->slot && strspn(upstream->slot, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(upstream->slot))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"slot\" is not the name of a slot");
	if (!plain_word(upstream->name))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"name\" is not a name");
	upstream->port_number = (int) port;
	snprintf(upstream->port, sizeof(upstream->port), "%d", (int) port);
	return 0;
}

bool
standby_streams(PGconn *conn, const Upstream *upstream)
{
	static const char sql[] =
		"SELECT 1 FROM pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming' "
		"AND sender_host = $1 AND sender_port = $2::int AND pg_catalog.pg_is_in_recovery()";
	const char *values[] = {upstream->host, upstream->port};
	PGresult   *res = pg_query(conn, NULL, 0, sql, 2, values);
	bool		streams = res && PQntuples(res) == 1;

	PQclear(res);
	return streams;
}

/* Has it arrived, and how far is there to go? False: no answer. */
static bool
look_at_goal(PGconn *conn, const Goal *goal, bool *reached, unsigned long long *behind)
{
	static const char sql[] =
		"SELECT received_tli >= $1::int AND w.lsn >= $2::pg_lsn, "
		"greatest(pg_catalog.pg_wal_lsn_diff($2::pg_lsn, w.lsn), 0)::bigint "
		"FROM pg_catalog.pg_stat_wal_receiver, LATERAL (SELECT CASE "
		"WHEN pg_catalog.pg_get_wal_replay_pause_state() <> 'not paused' OR "
		"pg_catalog.current_setting('recovery_min_apply_delay') <> '0' "
		"THEN pg_catalog.pg_last_wal_receive_lsn() ELSE pg_catalog.pg_last_wal_replay_lsn() END) AS w (lsn)";
	char		timeline[16];
	char		lsn[32];
	const char *values[] = {timeline, lsn};
	PGresult   *res;

	snprintf(timeline, sizeof(timeline), "%u", goal->timeline);
	snprintf(lsn, sizeof(lsn), "%X/%X", (unsigned) (goal->lsn >> 32), (unsigned) goal->lsn);
	res = pg_query(conn, NULL, 0, sql, 2, values);
	*reached = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "t") == 0;
	*behind = res && PQntuples(res) == 1 ? strtoull(PQgetvalue(res, 0, 1), NULL, 10) : ~0ULL;
	PQclear(res);
	return res != NULL;
}

/*
 * Where the WAL that it needs is gone, a receiver connects, calls itself streaming and ends, again and again. So it
 * has more time only while it comes nearer, or has streamed without a break.
 */
double
standby_wait_streaming(ActionContext *ctx, PGconn *conn, const Upstream *upstream, const Goal *goal,
					   double stream_deadline, double deadline)
{
	double		window = stream_deadline - clock_monotonic_ms();
	double		last = stream_deadline;
	double		since = 0;
	unsigned long long nearest = ~0ULL;

	while (clock_monotonic_ms() < last && clock_monotonic_ms() < deadline)
	{
		bool		streams = standby_streams(conn, upstream);
		bool		reached = false;
		unsigned long long behind = ~0ULL;

		if (streams && look_at_goal(conn, goal, &reached, &behind) && reached)
			return clock_realtime_ms();
		since = !streams ? 0 : since == 0 ? clock_monotonic_ms() : since;
		if (streams && (behind < nearest || clock_monotonic_ms() - since > STEADY_MS))
		{
			action_progress(ctx, -1, "streams from %s:%s, %llu kB to replay", upstream->host, upstream->port,
							behind / 1024);
			nearest = behind < nearest ? behind : nearest;
			last = clock_monotonic_ms() + window;
		}
		if (PQstatus(conn) != CONNECTION_OK || action_cancelled(ctx))
			return 0;
		sleep_ms(POLL_MS);
	}
	return 0;
}

/*
 * What the standby has keeps its own parameters (sslmode, passfile, ...); without one
 * the agent's configuration is the base.
 */
static char *
new_conninfo(const PgInstance *pg, const char *existing, const Upstream *upstream)
{
	const char *base = existing && *existing ? existing : pg->replication;
	char	   *merged = conninfo_merge(base, NULL, upstream->host, upstream->port, upstream->name);

	return merged ? merged : conninfo_merge(pg->replication, NULL, upstream->host, upstream->port, upstream->name);
}

static int
alter_system(ActionContext *ctx, PGconn *conn, const char *name, const char *value)
{
	char	   *literal = sql_literal(value);
	char	   *sql = xasprintf("ALTER SYSTEM SET %s = %s", name, literal);
	PGresult   *res = pg_query_or_fail(ctx, conn, sql, 0, NULL);
	int			rc = res ? 0 : -1;

	PQclear(res);
	free(sql);
	free(literal);
	return rc;
}

int
standby_redirect(ActionContext *ctx, PGconn *conn, const Upstream *upstream)
{
	char	   *existing = pg_value(conn, "SELECT pg_catalog.current_setting('primary_conninfo')");
	char	   *conninfo = new_conninfo(ctx->pg, existing, upstream);
	PGresult   *res = NULL;
	int			rc = alter_system(ctx, conn, "primary_conninfo", conninfo);

	if (rc == 0)
		rc = alter_system(ctx, conn, "primary_slot_name", upstream->slot ? upstream->slot : "");
	if (rc == 0)
		res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.pg_reload_conf()", 0, NULL);
	if (!res)
		rc = -1;
	PQclear(res);
	free(conninfo);
	free(existing);
	return rc;
}

/* The order matters: with standby.signal and the old settings it would follow the wrong server. */
int
standby_configure_offline(ActionContext *ctx, const char *data, const Upstream *upstream)
{
	char	   *path = xasprintf("%s/postgresql.auto.conf", data);
	char	   *signal_path = xasprintf("%s/standby.signal", data);
	char	   *text = file_read(path, AUTO_CONF_MAX, NULL);
	int			reason = text ? 0 : errno;
	char	   *existing = text ? conf_value(text, "primary_conninfo") : NULL;
	char	   *conninfo = new_conninfo(ctx->pg, existing, upstream);
	ConfSetting settings[] = {
		{"primary_conninfo", conninfo},
		{"primary_slot_name", upstream->slot ? upstream->slot : ""},
		{"recovery_target_timeline", "latest"},
	};
	char	   *changed = conf_rewrite(text ? text : "", settings, 3);
	int			rc = 0;

	if (!text && reason != ENOENT)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not read \"%s\": %s", path, strerror(reason));
	else if (file_write_atomic(path, changed, strlen(changed), 0600, true) < 0 ||
			 file_write_atomic(signal_path, "", 0, 0600, true) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(changed);
	free(conninfo);
	free(existing);
	free(text);
	free(signal_path);
	free(path);
	return rc;
}
