/*
 * retire.c
 *		pg.warm, pg.retire: the end of a server's life as a primary when it does not become a standby.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/action/retire.h"
#include "agent/core/clock.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 10000
#define RETIRE_TIMEOUT_MS 60000

/*
 * pg.warm: reads on the old primary what its end will read on it. Each first read may set hint bits in the catalogs,
 * which is WAL; after the seal that would be WAL past the fork, and cost a rewind.
 */
int
action_pg_warm(ActionContext *ctx, json_t *params, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	char	   *database = conn ? pg_pingpong_database(conn) : NULL;
	PGconn	   *there = database ? pg_local(ctx->pg, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;
	static const char *const reads[] = {
		"SELECT pg_catalog.pg_is_in_recovery()",
		"SELECT count(*) " SERVER_BUSY_SESSIONS,
		"SELECT count(*) " SERVER_OTHER_SESSIONS,
		"SELECT pg_catalog.pg_terminate_backend(pid) " SERVER_OTHER_SESSIONS " AND false",
		"SELECT pg_catalog.pg_current_wal_insert_lsn()",
		SERVER_TIMELINE_SQL,
		NULL
	};

	(void) params;
	(void) result;
	for (int i = 0; conn && reads[i]; i++)
		free(pg_value(conn, reads[i]));
	if (there)
		PQclear(pg_query(there, NULL, 0, SERVER_SEAL_SQL, 0, NULL));
	PQfinish(there);
	PQfinish(conn);
	free(database);
	return conn ? 0 : -1;
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
	ours = server_seal(ctx->pg, conn, run, sizeof(run), &lsn) && strcmp(run, ctx->run) == 0;
	PQfinish(conn);
	return ours ? 0 : action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "node \"%s\" is not sealed by this run",
								  ctx->config->node);
}

/* pg.retire {"readers_grace_ms"}: the primary that this run has sealed is let go. It is stopped, and stays sealed. */
int
action_pg_retire(ActionContext *ctx, json_t *params, json_t *result)
{
	if (control_running(ctx->pg) && check_retired(ctx) < 0)
		return -1;
	return server_stop(ctx, true, (int) param_int(params, "readers_grace_ms", 0),
					   clock_monotonic_ms() + RETIRE_TIMEOUT_MS, result);
}
