/*
 * retire.c
 *		pg.warm, pg.retire: the end of a server's life as a primary when it does not become a standby.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/action/retire.h"
#include "agent/core/clock.h"
#include "agent/core/conninfo.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 10000
#define RETIRE_TIMEOUT_MS 60000
#define WARM_MS 3000			/* for the databases of all routes */
#define WARM_STATEMENT_MS 1000

/*
 * The first session in a database makes the file that later ones load their catalog caches from, and what it and the
 * first plan read is in memory afterwards. A database that does not let us in is left out: its clients are not worse
 * off than before. False: it was.
 */
static bool
warm_database(ActionContext *ctx, const char *name, const char *settings)
{
	static const char *const reads[] = {
		"SELECT count(*) FROM pg_catalog.pg_class",
		"SELECT count(*) FROM pg_catalog.pg_attribute",
		"SELECT count(*) FROM pg_catalog.pg_index",
		"SELECT count(*) FROM pg_catalog.pg_statistic",
		"SELECT count(*) FROM pg_catalog.pg_proc",
		"SELECT count(*) FROM pg_catalog.pg_operator",
		NULL
	};
	char	   *dbname = conninfo_get(settings, "dbname");
	PGconn	   *conn = pg_local(ctx->pg, dbname ? dbname : name, WARM_STATEMENT_MS, NULL, 0);

	free(dbname);
	for (int i = 0; conn && reads[i]; i++)
		free(pg_value(conn, reads[i]));
	PQfinish(conn);
	return conn != NULL;
}

/* {"message"}: how many databases; what does not fit into the time is left out. */
static int
warm_routes(ActionContext *ctx, json_t *databases, json_t *result)
{
	double		deadline = clock_monotonic_ms() + WARM_MS;
	int			warmed = 0;
	char		message[64];
	const char *name;
	json_t	   *settings;

	json_object_foreach(databases, name, settings)
	{
		const char *text = json_string_value(settings);

		if (!action_cancelled(ctx) && clock_monotonic_ms() < deadline && warm_database(ctx, name, text ? text : ""))
			warmed++;
	}
	snprintf(message, sizeof(message), "%d of %d databases", warmed, (int) json_object_size(databases));
	json_object_set_new(result, "message", json_string(message));
	return 0;
}

/*
 * Reads on the old primary what its end will read on it. Each first read may set hint bits in the catalogs, which is
 * WAL; after the seal that would be WAL past the fork, and cost a rewind.
 */
static int
warm_own_end(ActionContext *ctx)
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

	for (int i = 0; conn && reads[i]; i++)
		free(pg_value(conn, reads[i]));
	if (there)
		PQclear(pg_query(there, NULL, 0, SERVER_SEAL_SQL, 0, NULL));
	PQfinish(there);
	PQfinish(conn);
	free(database);
	return conn ? 0 : -1;
}

/* pg.warm {"databases": {"app": "dbname=..."}}: on a target; without them: on the old primary. */
int
action_pg_warm(ActionContext *ctx, json_t *params, json_t *result)
{
	json_t	   *databases = json_object_get(params, "databases");

	return json_is_object(databases) ? warm_routes(ctx, databases, result) : warm_own_end(ctx);
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
