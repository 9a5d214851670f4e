/*
 * bouncerobserve.c
 *		What a PgBouncer says of itself, and its file.
 *
 * This only looks: it does not touch the file and reloads nothing. Whether RELOAD takes effect is proved by prepare,
 * before each run. The answer here has the result of the last such proof.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/job/params.h"
#include "agent/route/bouncerchain.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/route/bouncerobserve.h"
#include "agent/route/console.h"
#include "agent/route/endpoint.h"
#include "common/sqlstate.h"

#define PATIENCE_MS 2000		/* for one answer */
#define SERVERS_MAX 2000
#define LOCK_AGAIN_MS 20

static PGresult *
ask(const BouncerConfig *bouncer, PGconn *conn, const char *sql, char *error, size_t error_size)
{
	int			limit = admin_timeout_ms(bouncer) < PATIENCE_MS ? admin_timeout_ms(bouncer) : PATIENCE_MS;
	char		why[256];
	PGresult   *res = admin_query(conn, sql, limit, why, sizeof(why));

	if (!res)
		snprintf(error, error_size, "%s: %s", sql, why);
	return res;
}

/* The columns that we want, of all rows; a column that this version lacks is left out. */
static json_t *
rows_of(const PGresult *res, const char *const *columns)
{
	json_t	   *rows = json_array();

	for (int row = 0; row < PQntuples(res); row++)
	{
		json_t	   *object = json_object();

		for (const char *const *column = columns; *column; column++)
		{
			int			field = PQfnumber(res, *column);

			if (field >= 0)
				json_object_set_new(object, *column, PQgetisnull(res, row, field) ? json_null() :
									json_string(PQgetvalue(res, row, field)));
		}
		json_array_append_new(rows, object);
	}
	return rows;
}

static const char *const database_columns[] = {"name", "host", "port", "database", "pool_mode", "pool_size",
	"reserve_pool", "reserve_pool_size", "max_connections", "current_connections", "paused", "disabled", NULL};
static const char *const place_columns[] = {"name", "host", "port", NULL};
static const char *const pool_columns[] = {"database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle",
	"maxwait", "pool_mode", NULL};
static const char *const config_names[] = {"pool_mode", "query_wait_timeout", "query_timeout", "server_login_retry",
	"server_connect_timeout", "dns_max_ttl", "max_client_conn", "so_reuseport", "conffile", NULL};

/* SHOW CONFIG has one row a setting */
static json_t *
settings_of(const PGresult *res)
{
	json_t	   *object = json_object();
	int			key = PQfnumber(res, "key");
	int			value = PQfnumber(res, "value");

	for (int row = 0; key >= 0 && value >= 0 && row < PQntuples(res); row++)
		for (const char *const *name = config_names; *name; name++)
			if (strcmp(PQgetvalue(res, row, key), *name) == 0)
				json_object_set_new(object, *name, json_string(PQgetvalue(res, row, value)));
	return object;
}

/* Its connections to servers: whose process, and whether a client holds it. */
static json_t *
servers_of(PGresult *res)
{
	json_t	   *rows = json_array();

	for (int row = 0; row < PQntuples(res) && row < SERVERS_MAX; row++)
	{
		const char *database = admin_column(res, row, "database");
		const char *user = admin_column(res, row, "user");
		const char *pid = admin_column(res, row, "remote_pid");
		const char *link = admin_column(res, row, "link");

		if (database && user && pid && atoi(pid) > 0)
			json_array_append_new(rows, json_pack("{s:s, s:s, s:i, s:b}", "database", database, "user", user, "pid",
												  atoi(pid), "linked", link && link[0]));
	}
	return rows;
}

static int
look_at_pooler(const BouncerConfig *bouncer, PGconn *conn, json_t *facts, char *error, size_t error_size)
{
	PGresult   *res;

	if (!(res = ask(bouncer, conn, "SHOW VERSION", error, error_size)))
		return -1;
	/* versions before 1.13 or so answered with a notice only */
	json_object_set_new(facts, "version", json_string(PQntuples(res) > 0 ? PQgetvalue(res, 0, 0) : "PgBouncer"));
	PQclear(res);
	if (!(res = ask(bouncer, conn, "SHOW DATABASES", error, error_size)))
		return -1;
	json_object_set_new(facts, "databases", rows_of(res, database_columns));
	PQclear(res);
	if (!(res = ask(bouncer, conn, "SHOW CONFIG", error, error_size)))
		return -1;
	json_object_set_new(facts, "config", settings_of(res));
	PQclear(res);
	if (!(res = ask(bouncer, conn, "SHOW POOLS", error, error_size)))
		return -1;
	json_object_set_new(facts, "pools", rows_of(res, pool_columns));
	PQclear(res);
	if (!(res = ask(bouncer, conn, "SHOW SERVERS", error, error_size)))
		return -1;
	json_object_set_new(facts, "servers", servers_of(res));
	PQclear(res);
	return 0;
}

static json_t *
place_of(const char *entry)
{
	char	   *host = bouncer_value(entry, "host");
	char	   *port = bouncer_value(entry, "port");
	json_t	   *place = json_pack("{s:s?, s:i}", "host", host, "port", port ? atoi(port) : BOUNCER_DEFAULT_PORT);

	free(port);
	free(host);
	return place;
}

/*
 * Databases of which our file says something else than PgBouncer: the next RELOAD, ours too, will move them.  Or it
 * does not read this file.
 */
static json_t *
pending_of(const char *text, json_t *databases)
{
	json_t	   *pending = json_array();
	json_t	   *row;
	size_t		i;

	json_array_foreach(databases, i, row)
	{
		const char *name = param_string(row, "name", "");
		char	   *entry = bouncer_entry(text, name);
		json_t	   *place = entry ? place_of(entry) : NULL;
		const char *host = param_string(place, "host", "");
		int			port = (int) param_int(place, "port", 0);

		if (place && (strcmp(host, param_string(row, "host", "")) != 0 ||
					  port != atoi(param_string(row, "port", "0"))))
			json_array_append_new(pending, json_pack("{s:s, s:s, s:i}", "name", name, "host", host, "port", port));
		json_decref(place);
		free(entry);
	}
	return pending;
}

/* What can be seen without trying: may we replace the file, and is it one of those that PgBouncer reads? */
static json_t *
file_facts(const BouncerConfig *bouncer, json_t *facts)
{
	const char *main_file = param_string(json_object_get(facts, "config"), "conffile", NULL);
	char		why[512] = "";
	bool		writable = bouncer_file_check(bouncer->file, why, sizeof(why)) == 0;
	json_t	   *file = json_pack("{s:s, s:b, s:s?}", "path", bouncer->file, "writable", writable, "error",
								 writable ? NULL : why);
	BouncerChain chain;
	char	   *text;

	if (bouncer_file_read(bouncer->file, &text, why, sizeof(why)) == 0)
	{
		json_object_set_new(file, "pending", pending_of(text, json_object_get(facts, "databases")));
		free(text);
	}
	if (!main_file)
		return file;
	bouncer_chain_look(main_file, bouncer->file, &chain);
	json_object_set_new(file, "included", chain.included ? json_true() : chain.complete ? json_false() : json_null());
	json_object_set_new(file, "broken", json_boolean(chain.broken));
	json_object_set(file, "shadowed", chain.shadowed);
	if (chain.trouble[0])
		json_object_set_new(file, "trouble", json_string(chain.trouble));
	if (chain.star)
		json_object_set_new(facts, "star", place_of(chain.star));
	bouncer_chain_free(&chain);
	return file;
}

static json_t *
last_proof(const BouncerConfig *bouncer)
{
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	json_t	   *proof = json_null();

	if (pthread_mutex_trylock(&endpoint->lock) != 0)
		return proof;			/* a run is at work on it */
	if (endpoint->proved_ms > 0)
		proof = json_pack("{s:f, s:s?}", "at_ms", endpoint->proved_ms, "error", endpoint->proof_error);
	pthread_mutex_unlock(&endpoint->lock);
	return proof;
}

/* An order has it for long when its PgBouncer hangs: who only looks does not wait for that. */
static bool
lock_soon(Endpoint *endpoint, double limit)
{
	while (pthread_mutex_trylock(&endpoint->lock) != 0)
	{
		if (clock_monotonic_ms() > limit)
			return false;
		sleep_ms(LOCK_AGAIN_MS);
	}
	return true;
}

/* Over the console that is open already: every few seconds a login would fill PgBouncer's log. */
static int
observe_brief(const BouncerConfig *bouncer, json_t *result)
{
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	double		deadline = clock_monotonic_ms() + PATIENCE_MS;
	char		error[512] = "an order is under way";
	PGresult   *version = NULL;
	PGresult   *shown = NULL;

	if (lock_soon(endpoint, deadline))
	{
		version = admin_control(endpoint, bouncer, "SHOW VERSION", deadline, error, sizeof(error));
		if (version)
			shown = admin_control(endpoint, bouncer, "SHOW DATABASES", deadline, error, sizeof(error));
		pthread_mutex_unlock(&endpoint->lock);
	}
	if (shown)
	{
		json_object_set_new(result, "version",
							json_string(PQntuples(version) > 0 ? PQgetvalue(version, 0, 0) : "PgBouncer"));
		json_object_set_new(result, "databases", rows_of(shown, place_columns));
	}
	else
		json_object_set_new(result, "error", json_string(error));
	PQclear(shown);
	PQclear(version);
	return 0;
}

/* What it cannot say is an answer, too: the file is looked at in any case. */
int
action_pgbouncer_observe(ActionContext *ctx, json_t *params, json_t *result)
{
	const BouncerConfig *bouncer = config_bouncer(ctx->config, param_string(params, "endpoint", ""));
	char		error[512] = "";
	PGconn	   *conn;

	if (!bouncer)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "no PgBouncer \"%s\" is configured",
						   param_string(params, "endpoint", ""));
	if (json_is_true(json_object_get(params, "brief")))
		return observe_brief(bouncer, result);
	conn = admin_connect(bouncer, error, sizeof(error));
	if (!conn || look_at_pooler(bouncer, conn, result, error, sizeof(error)) < 0)
		json_object_set_new(result, "error", json_string(error));
	PQfinish(conn);
	json_object_set_new(result, "file", file_facts(bouncer, result));
	json_object_set_new(result, "proof", last_proof(bouncer));
	return 0;
}
