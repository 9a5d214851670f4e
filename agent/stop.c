/*
 * stop.c
 *		pg.warm, pg.retire, and what they share with pg.rejoin: the end of a server's life as a primary.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/actions.h"
#include "agent/control.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/text.h"
#include "agent/job/action.h"
#include "agent/job/params.h"
#include "agent/job/sqlstate.h"
#include "agent/postmaster.h"
#include "agent/stop.h"

#define QUERY_TIMEOUT_MS 10000
#define STOP_TIMEOUT_MS 10000
#define RETIRE_TIMEOUT_MS 60000
#define SESSIONS_GO_MS 300
#define REMAINS_GO_MS 10000
#define POLL_MS 5

/* Statements that wait at the gate (wait event type Extension) are no readers: they would wait for ever. */
#define OTHER_SESSIONS \
	"FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' " \
	"AND pid <> pg_catalog.pg_backend_pid() AND application_name <> 'pingpong-agent'"
#define BUSY_SESSIONS OTHER_SESSIONS " AND state <> 'idle' AND wait_event_type IS DISTINCT FROM 'Extension'"

#define SEAL_SQL "SELECT state, seal_lsn, run FROM pingpong.gate"

static pthread_mutex_t server_lock = PTHREAD_MUTEX_INITIALIZER;

static int
count(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	int			n = value ? atoi(value) : 0;

	free(value);
	return n;
}

/*
 * pg.warm: reads on the old primary what its end will read on it. Each first read may set hint bits in the catalogs,
 * which is WAL; behind the seal that would be WAL past the fork, and cost a rewind.
 */
int
action_pg_warm(ActionContext *ctx, json_t *params, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	char	   *database = conn ? pg_pingpong_database(conn) : NULL;
	PGconn	   *there = database ? pg_local(ctx->config, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;
	static const char *const reads[] = {
		"SELECT pg_catalog.pg_is_in_recovery()",
		"SELECT count(*) " BUSY_SESSIONS,
		"SELECT count(*) " OTHER_SESSIONS,
		"SELECT pg_catalog.pg_terminate_backend(pid) " OTHER_SESSIONS " AND false",
		"SELECT pg_catalog.pg_current_wal_insert_lsn()",
		SERVER_TIMELINE_SQL,
		NULL
	};

	(void) params;
	(void) result;
	for (int i = 0; conn && reads[i]; i++)
		free(pg_value(conn, reads[i]));
	if (there)
		PQclear(pg_query(there, NULL, 0, SEAL_SQL, 0, NULL));
	PQfinish(there);
	PQfinish(conn);
	free(database);
	return conn ? 0 : -1;
}

bool
server_seal(const AgentConfig *config, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn)
{
	char	   *database = pg_pingpong_database(conn);
	PGconn	   *there = database ? pg_local(config, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;
	PGresult   *res = there ? pg_query(there, NULL, 0, SEAL_SQL, 0, NULL) : NULL;
	bool		sealed = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "sealed") == 0 &&
		lsn_parse(PQgetvalue(res, 0, 1), lsn);

	if (sealed)
		snprintf(run, run_size, "%s", PQgetvalue(res, 0, 2));
	PQclear(res);
	PQfinish(there);
	free(database);
	return sealed;
}

static void
end_sessions(ActionContext *ctx, PGconn *conn, int readers_grace_ms)
{
	double		grace = clock_monotonic_ms() + readers_grace_ms;
	double		gone;

	action_progress(ctx, -1, "waiting for readers");
	while (clock_monotonic_ms() < grace && !action_cancelled(ctx) && count(conn, "SELECT count(*) " BUSY_SESSIONS) > 0)
		sleep_ms(POLL_MS);
	/* each is told that it is ended (57P01), which an immediate stop would not do in good order */
	PQclear(pg_query(conn, NULL, 0, "SELECT pg_catalog.pg_terminate_backend(pid) " OTHER_SESSIONS, 0, NULL));
	gone = clock_monotonic_ms() + SESSIONS_GO_MS;
	while (clock_monotonic_ms() < gone && count(conn, "SELECT count(*) " OTHER_SESSIONS) > 0)
		sleep_ms(1);
}

/* A zombie alone writes nothing. */
int
server_await_remains(ActionContext *ctx, double deadline)
{
	double		limit = clock_monotonic_ms() + REMAINS_GO_MS;
	const char *data = ctx->config->pg.data;

	limit = limit < deadline ? limit : deadline;
	while ((postmaster_has_remains(data) || !postmaster_gone(data)) && clock_monotonic_ms() < limit && !action_cancelled(ctx))
		sleep_ms(POLL_MS);
	if (postmaster_gone(data))
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "processes of a server that is gone still use \"%s\"", data);
	action_hint(ctx, "End the processes whose working directory this is; then try again.");
	return -1;
}

/* Behind a command it may live where its processes cannot be seen. */
bool
server_is_stopped(const AgentConfig *config)
{
	return config->pg.control != PG_CONTROL_COMMAND && !control_running(config) && postmaster_gone(config->pg.data);
}

bool
server_claim(void)
{
	return pthread_mutex_trylock(&server_lock) == 0;
}

void
server_release(void)
{
	pthread_mutex_unlock(&server_lock);
}

int
server_stop(ActionContext *ctx, bool primary, int readers_grace_ms, double deadline, json_t *result)
{
	PGconn	   *conn;
	char	   *lsn;

	if (control_running(ctx->config))
	{
		conn = pg_local(ctx->config, NULL, QUERY_TIMEOUT_MS, NULL, 0);
		if (conn && primary)
		{
			end_sessions(ctx, conn, readers_grace_ms);
			lsn = pg_value(conn, "SELECT pg_catalog.pg_current_wal_insert_lsn()");
			if (lsn)
				json_object_set_new(result, "stop_lsn", json_string(lsn));
			free(lsn);
		}
		PQfinish(conn);
		action_progress(ctx, -1, "stopping");
		if (control_stop(ctx, true, STOP_TIMEOUT_MS) < 0)
			return -1;
		json_object_set_new(result, "stopped_ms", json_real(clock_realtime_ms()));
	}
	return server_await_remains(ctx, deadline);
}

/* Only what this run has sealed: anything else is in use, or somebody else's. */
static int
check_retired(ActionContext *ctx)
{
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	char		run[80] = "";
	unsigned long long lsn = 0;
	bool		ours;

	if (!conn)
		return -1;
	ours = server_seal(ctx->config, conn, run, sizeof(run), &lsn) && strcmp(run, ctx->run) == 0;
	PQfinish(conn);
	return ours ? 0 : action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "node \"%s\" is not sealed by this run", ctx->config->node);
}

/* pg.retire {"readers_grace_ms"}: the primary that this run has sealed is let go. It is stopped, and stays sealed. */
int
action_pg_retire(ActionContext *ctx, json_t *params, json_t *result)
{
	if (control_running(ctx->config) && check_retired(ctx) < 0)
		return -1;
	return server_stop(ctx, true, (int) param_int(params, "readers_grace_ms", 0), clock_monotonic_ms() + RETIRE_TIMEOUT_MS, result);
}
