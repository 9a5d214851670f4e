/*
 * small.c
 *		pg.checkpoint, pg.query, note: orders of a few lines.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/action/small.h"
#include "agent/core/clock.h"
#include "agent/job/params.h"
#include "agent/pg/pg.h"

#define QUERY_TIMEOUT_MS 5000
#define CHECKPOINT_TIMEOUT_MS 600000

int
action_pg_checkpoint(ActionContext *ctx, json_t *params, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, (int) param_int(params, "timeout_ms", CHECKPOINT_TIMEOUT_MS));
	PGresult   *res = NULL;
	double		start = clock_monotonic_ms();

	if (!conn)
		return -1;
	res = pg_query_or_fail(ctx, conn, "CHECKPOINT", 0, NULL);
	PQfinish(conn);
	if (!res)
		return -1;
	PQclear(res);
	json_object_set_new(result, "checkpoint_ms", json_real(clock_monotonic_ms() - start));
	return 0;
}

/* Nobody may run SQL of his choice through the agent: the statements are ours. */
static bool
query_allowed(const char *sql)
{
	static const char prefix[] = "SELECT pingpong.wake(";
	size_t		digits;

	if (strncmp(sql, prefix, sizeof(prefix) - 1) != 0)
		return false;
	sql += sizeof(prefix) - 1;
	digits = strspn(sql, "0123456789");
	return digits <= 9 && strcmp(sql + digits, ")") == 0;
}

int
action_pg_query(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *sql = param_string(params, "sql", "");
	PGconn	   *conn;
	PGresult   *res;
	char	   *database;

	if (!query_allowed(sql))
		return action_fail(ctx, "42501", "this statement is not one that the agent runs");
	conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	if (!conn)
		return -1;
	database = pg_pingpong_database(conn);
	PQfinish(conn);
	conn = pg_local_or_fail(ctx, database, QUERY_TIMEOUT_MS);
	free(database);
	if (!conn)
		return -1;
	res = pg_query_or_fail(ctx, conn, sql, 0, NULL);
	PQfinish(conn);
	if (!res)
		return -1;
	PQclear(res);
	return 0;
}

/* A word that one worker leaves for the other one; the job's record keeps it. */
int
action_note(ActionContext *ctx, json_t *params, json_t *result)
{
	(void) ctx;
	json_object_update(result, params);
	return 0;
}
