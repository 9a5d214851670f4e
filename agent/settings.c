/*
 * settings.c
 *		pg.checkpoint, pg.query, pg.setting: small orders to the local server.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/pg.h"
#include "agent/text.h"

#define SETTING_TIMEOUT_MS 5000
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
	conn = pg_local_or_fail(ctx, NULL, SETTING_TIMEOUT_MS);
	if (!conn)
		return -1;
	database = pg_pingpong_database(conn);
	PQfinish(conn);
	conn = pg_local_or_fail(ctx, database, SETTING_TIMEOUT_MS);
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

static bool
setting_allowed(const char *name)
{
	return strcmp(name, "synchronous_standby_names") == 0 || strcmp(name, "wal_init_zero") == 0 ||
		strcmp(name, "wal_writer_delay") == 0;
}

static int
alter_system(ActionContext *ctx, PGconn *conn, const char *name, const char *value)
{
	char	   *literal = value ? sql_literal(value) : NULL;
	char	   *sql = value ? xasprintf("ALTER SYSTEM SET %s = %s", name, literal)
		: xasprintf("ALTER SYSTEM RESET %s", name);
	PGresult   *res = pg_query_or_fail(ctx, conn, sql, 0, NULL);
	bool		done = res != NULL;

	PQclear(res);
	free(sql);
	free(literal);
	if (!done)
		return -1;
	res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.pg_reload_conf()", 0, NULL);
	done = res != NULL;
	PQclear(res);
	return done ? 0 : -1;
}

static bool
query_says_yes(ActionContext *ctx, PGconn *conn, const char *sql, const char *name, const char *value)
{
	const char *values[] = {name, value};
	PGresult   *res = pg_query_or_fail(ctx, conn, sql, 2, values);
	bool		yes = res && strcmp(PQgetvalue(res, 0, 0), "t") == 0;

	PQclear(res);
	return yes;
}

/*
 * Is it the old value again now that our line is gone? The server says so when
 * it has read its files, in its own units (the files and boot_val have others);
 * where our value was the old one all along, only the files can tell.
 */
static bool
is_back(ActionContext *ctx, PGconn *conn, const char *name, const char *value, const char *ours)
{
	if (strcmp(value, ours) == 0)
		return query_says_yes(ctx, conn,
							  "SELECT coalesce((SELECT f.setting FROM pg_catalog.pg_file_settings f WHERE f.name = $1 "
							  "AND f.error IS NULL ORDER BY f.seqno DESC LIMIT 1), "
							  "(SELECT s.boot_val FROM pg_catalog.pg_settings s WHERE s.name = $1), '') = $2", name, value);
	for (int i = 0; i < 500; i++)
	{
		/* one look: the new value may come between two */
		const char *values[] = {name};
		PGresult   *res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.current_setting($1)", 1, values);
		bool		old = res && strcmp(PQgetvalue(res, 0, 0), value) == 0;
		bool		other = !res || strcmp(PQgetvalue(res, 0, 0), ours) != 0;

		PQclear(res);
		if (old || other)
			return old;
		sleep_ms(2);
	}
	return false;
}

/*
 * Back to what it was: where the value comes from elsewhere (postgresql.conf, the
 * default), our line must go, or that other place would be overruled for ever.
 */
static int
restore_setting(ActionContext *ctx, PGconn *conn, const char *name, const char *value, const char *ours)
{
	if (alter_system(ctx, conn, name, NULL) < 0)
		return -1;
	return !value || is_back(ctx, conn, name, value, ours) ? 0 : alter_system(ctx, conn, name, value);
}

int
action_pg_setting(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *name = param_string(params, "name", "");
	const char *value = param_string(params, "value", NULL);
	const char *values[] = {name};
	PGconn	   *conn;
	PGresult   *res;
	int			rc = -1;

	if (!setting_allowed(name))
		return action_fail(ctx, "42501", "this setting is not one that the agent changes");
	if (!value && !json_is_null(json_object_get(params, "value")))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"value\" must be a string or null");
	conn = pg_local_or_fail(ctx, NULL, SETTING_TIMEOUT_MS);
	if (!conn)
		return -1;
	res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.current_setting($1)", 1, values);
	if (res)
	{
		json_object_set_new(result, "previous", json_string(PQgetvalue(res, 0, 0)));
		rc = param_bool(params, "restore", false) ? restore_setting(ctx, conn, name, value, PQgetvalue(res, 0, 0))
			: alter_system(ctx, conn, name, value);
	}
	PQclear(res);
	PQfinish(conn);
	return rc;
}
