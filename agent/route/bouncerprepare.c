/*
 * bouncerprepare.c
 *		prepare: what a switchover needs of a pooler, found out before anything has changed.
 *
 * It proves that PgBouncer reads our file and that RELOAD takes effect, writes the next version of the file to disk,
 * and opens a console for the PAUSE. Whatever stands against the move ends the run here.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/job/params.h"
#include "agent/route/bouncerchain.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/route/bouncerorder.h"
#include "agent/route/bouncerprepare.h"
#include "agent/route/console.h"
#include "agent/route/endpoint.h"
#include "agent/route/proof.h"
#include "agent/route/retry.h"
#include "agent/route/smoke.h"
#include "agent/route/stage.h"
#include "common/sqlstate.h"

/* What the console says, one answer a question */
typedef struct Console
{
	PGresult   *version;
	PGresult   *config;
	PGresult   *databases;
	PGresult   *pools;
} Console;

static void
console_clear(Console *console)
{
	PQclear(console->version);
	PQclear(console->config);
	PQclear(console->databases);
	PQclear(console->pools);
}

static int
console_ask(ActionContext *ctx, Order *order, Console *console)
{
	memset(console, 0, sizeof(*console));
	console->version = order_control(ctx, order, "SHOW VERSION");
	console->config = console->version ? order_control(ctx, order, "SHOW CONFIG") : NULL;
	console->databases = console->config ? order_control(ctx, order, "SHOW DATABASES") : NULL;
	console->pools = console->databases ? order_control(ctx, order, "SHOW POOLS") : NULL;
	return console->pools ? 0 : -1;
}

static const char *
setting(PGresult *config, const char *key)
{
	for (int i = 0; i < PQntuples(config); i++)
		if (strcmp(PQgetvalue(config, i, 0), key) == 0)
			return PQgetvalue(config, i, 1);
	return NULL;
}

/* ---- the report ---- */

/*
 * A pool's mode may be its user's; that of the database holds for the next client.
 *
 * PAUSE is for the databases in transaction pooling. In session pooling it cannot return while a client is there, and
 * it is a trap: a client that logs in between RELOAD and RESUME makes PgBouncer begin a login at the new primary,
 * which the pause then breaks off, and that counts as a failed login (server_login_retry). There the gate does the
 * holding. A database that has pools of both kinds is paused: that spares the clients in transaction pooling an
 * error, and the others are not waited for.
 */
static const char *
pool_mode_of(Console *console, int row)
{
	const char *name = PQgetvalue(console->databases, row, 0);
	const char *mode = admin_column(console->databases, row, "pool_mode");

	if (!mode)
		mode = setting(console->config, "pool_mode");
	if (!mode)
		mode = "session";
	for (int i = 0; i < PQntuples(console->pools); i++)
	{
		const char *of_pool = admin_column(console->pools, i, "pool_mode");

		if (of_pool && strcmp(PQgetvalue(console->pools, i, 0), name) == 0 && strcmp(of_pool, mode) != 0)
			return "mixed";
	}
	return mode;
}

static int
clients_of(Console *console, const char *database)
{
	int			n = 0;

	for (int i = 0; i < PQntuples(console->pools); i++)
	{
		const char *active = admin_column(console->pools, i, "cl_active");

		if (active && strcmp(PQgetvalue(console->pools, i, 0), database) == 0)
			n += atoi(active);
	}
	return n;
}

static void
report_database(Console *console, int row, json_t *result)
{
	const char *name = PQgetvalue(console->databases, row, 0);
	const char *host = admin_column(console->databases, row, "host");
	const char *port = admin_column(console->databases, row, "port");
	const char *paused = admin_column(console->databases, row, "paused");
	const char *disabled = admin_column(console->databases, row, "disabled");
	const char *mode = pool_mode_of(console, row);

	json_object_set_new(json_object_get(result, "pool_mode"), name, json_string(mode));
	json_object_set_new(json_object_get(result, "databases"), name,
						json_pack("{s:s, s:s, s:s, s:i, s:b, s:b, s:i}", "held_by",
								  strcmp(mode, "session") == 0 ? "gate" : "router",
								  "pool_mode", mode, "host", host ? host : "",
								  "port", port ? atoi(port) : 0, "paused", paused && atoi(paused),
								  "disabled", disabled && atoi(disabled), "cl_active", clients_of(console, name)));
}

static void
report(Console *console, json_t *databases, json_t *result)
{
	static const char *const keys[] = {"query_wait_timeout", "query_timeout", "server_login_retry", NULL};

	json_object_set_new(result, "version", json_string(PQgetvalue(console->version, 0, 0)));
	json_object_set_new(result, "pool_mode", json_object());
	json_object_set_new(result, "databases", json_object());
	for (int i = 0; keys[i]; i++)
	{
		const char *value = setting(console->config, keys[i]);

		json_object_set_new(result, keys[i], value ? json_real(atof(value)) : json_null());
	}
	for (int i = 0; i < PQntuples(console->databases); i++)
		if (json_object_get(databases, PQgetvalue(console->databases, i, 0)))
			report_database(console, i, result);
}

/* ---- the file ---- */

/* A line that we add where another file has one would win over it, or lose, by the order of the files. */
static int
check_lines(ActionContext *ctx, Order *order, Console *console, const char *text)
{
	const char *name;
	json_t	   *unused;
	char	   *star = bouncer_entry(text, "*");
	int			rc = 0;

	json_object_foreach(order->databases, name, unused)
	{
		char	   *entry = rc == 0 ? bouncer_entry(text, name) : NULL;
		bool		known = admin_row(console->databases, name) >= 0;

		if (rc == 0 && !entry && !star)
		{
			rc = known ? action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
									 "\"%s\" has no line for database \"%s\" of PgBouncer \"%s\"",
									 order->bouncer->file, name, order->bouncer->name) :
				action_fail(ctx, STATE_UNKNOWN_DATABASE, "PgBouncer \"%s\" has no database \"%s\"",
							order->bouncer->name, name);
			action_hint(ctx, "Move the line of the database into that file.");
		}
		free(entry);
	}
	free(star);
	return rc;
}

/*
 * Says PgBouncer of our databases what our file says?  Else a RELOAD would move clients now (an edit that nobody has
 * loaded), or, after one, another line for the database is read after ours.
 */
static int
check_matches(ActionContext *ctx, Order *order, PGresult *shown, const char *text, const char *hint)
{
	const char *name;
	json_t	   *extra;
	int			rc = 0;

	json_object_foreach(order->databases, name, extra)
	{
		char	   *entry = bouncer_entry(text, name);
		char	   *host = entry ? bouncer_value(entry, "host") : NULL;
		char	   *port = entry ? bouncer_value(entry, "port") : NULL;
		json_t	   *one = json_pack("{s:O}", name, extra);
		char		why[512];

		if (rc == 0 && entry &&
			proof_leads(shown, one, host ? host : "", port ? atoi(port) : BOUNCER_DEFAULT_PORT, why, sizeof(why)) < 0)
		{
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "PgBouncer \"%s\" does not say what \"%s\" says: %s",
							 order->bouncer->name, order->bouncer->file, why);
			action_hint(ctx, "%s", hint);
		}
		json_decref(one);
		free(port);
		free(host);
		free(entry);
	}
	return rc;
}

/*
 * A line in another file that is read after ours counts instead of it. Found by reading them all, as far as we may.
 */
static int
check_shadowed(ActionContext *ctx, Order *order, Console *console)
{
	const char *main_file = setting(console->config, "conffile");
	BouncerChain chain;
	const char *name;
	json_t	   *where;
	int			rc = 0;

	if (!main_file)
		return 0;
	bouncer_chain_look(main_file, order->bouncer->file, &chain);
	json_object_foreach(chain.shadowed, name, where)
		if (rc == 0 && json_object_get(order->databases, name))
		{
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "\"%s\" has a line for database \"%s\" too, which counts "
							 "instead of that in \"%s\"", json_string_value(where), name, order->bouncer->file);
			action_hint(ctx, "A database must have one line.");
		}
	bouncer_chain_free(&chain);
	return rc;
}

static void
explain(ActionContext *ctx, Order *order, Console *console)
{
	const char *main_file = setting(console->config, "conffile");
	BouncerChain chain;

	if (!main_file)
		return;
	bouncer_chain_look(main_file, order->bouncer->file, &chain);
	action_detail(ctx, "%s",
				  chain.trouble[0] ? chain.trouble : "PgBouncer's log tells what its RELOAD could not read");
	bouncer_chain_free(&chain);
	action_hint(ctx,
				"Fix the configuration of PgBouncer (\"%s\"), which must include \"%s\"; RELOAD, and look into its "
				"log.",
				main_file, order->bouncer->file);
}

/* Another route of the run has proved it for this file. */
static bool
is_proved(ActionContext *ctx, Endpoint *endpoint, const char *text)
{
	return endpoint->proved_run && strcmp(endpoint->proved_run, ctx->run) == 0 &&
		endpoint->stage.run && strcmp(endpoint->stage.run, ctx->run) == 0 && strcmp(endpoint->stage.base, text) == 0;
}

/* The lock is held.  *text is the file, and becomes the file as it is after the proof. */
static int
prove(ActionContext *ctx, Order *order, Console *console, char **text)
{
	Endpoint   *endpoint = order->endpoint;
	char		why[512];
	int			rc;

	if (is_proved(ctx, endpoint, *text))
		return 0;
	free(*text);
	rc = proof_try(endpoint, order->bouncer, order->deadline, text, why, sizeof(why));
	endpoint->proved_ms = clock_realtime_ms();
	free(endpoint->proof_error);
	endpoint->proof_error = rc != 0 ? xstrdup(why) : NULL;
	free(endpoint->proved_run);
	endpoint->proved_run = rc != 0 ? NULL : xstrdup(ctx->run);
	if (rc < 0)
		return action_fail(ctx, STATE_IO_ERROR, "the file of PgBouncer \"%s\" cannot be replaced: %s",
						   order->bouncer->name, why);
	if (rc == 0)
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" does not take over its file: %s",
				order->bouncer->name, why);
	explain(ctx, order, console);
	return -1;
}

static int
prepare_file(ActionContext *ctx, Order *order, Console *console, json_t *params)
{
	const char *host;
	int			port;
	char		why[512];
	char	   *text = NULL;
	PGresult   *shown = NULL;
	int			rc;

	if (bouncer_file_check(order->bouncer->file, why, sizeof(why)) < 0)
	{
		action_fail(ctx, STATE_IO_ERROR, "the file of PgBouncer \"%s\" cannot be replaced: %s", order->bouncer->name,
					why);
		action_hint(ctx, "The agent's user needs to own the file and to write to its folder.");
		return -1;
	}
	if (bouncer_file_read(order->bouncer->file, &text, why, sizeof(why)) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "%s", why);
	rc = check_lines(ctx, order, console, text);
	if (rc == 0)
		rc = check_matches(ctx, order, console->databases, text,
						   "A RELOAD now would move its clients: fix the file, or the "
						   "route's dbname, or let PgBouncer RELOAD first.");
	if (rc == 0)
		rc = check_shadowed(ctx, order, console);
	if (rc == 0)
		rc = prove(ctx, order, console, &text);
	if (rc == 0 && !(shown = order_control(ctx, order, "SHOW DATABASES")))
		rc = -1;
	if (rc == 0)
		rc = check_matches(ctx, order, shown, text,
						   "Another file has a line for the same database, after this one.");
	if (rc == 0 && order_place(params, &host, &port) &&
		stage_make(order, ctx->run, text, host, port, why, sizeof(why)) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "the file of PgBouncer \"%s\" cannot be prepared: %s",
						 order->bouncer->name, why);
	PQclear(shown);
	free(text);
	return rc;
}

/* In the blackout a login would take its time. */
static int
open_pauser(ActionContext *ctx, Order *order)
{
	Endpoint   *endpoint = order->endpoint;
	char		error[256];
	PGconn	   *conn;

	if (!endpoint->pausers_run || strcmp(endpoint->pausers_run, ctx->run) != 0)
	{
		endpoint_close_pausers(endpoint);
		endpoint->pausers_run = xstrdup(ctx->run);
	}
	if (endpoint->n_pausers == ENDPOINT_PAUSERS_MAX)
		return 0;				/* more routes open theirs when they need it */
	conn = admin_connect(order->bouncer, error, sizeof(error));
	if (!conn)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	endpoint->pausers[endpoint->n_pausers++] = conn;
	return 0;
}

int
action_pgbouncer_prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *smoke = param_string(params, "smoke", "");
	Order		order;
	Console		console;
	int			rc;

	if (order_read(ctx, params, &order) < 0)
		return -1;
	order_lock(&order);
	rc = console_ask(ctx, &order, &console);
	if (rc == 0)
	{
		retry_note(order.endpoint, setting(console.config, "server_login_retry"));
		report(&console, order.databases, result);
		rc = prepare_file(ctx, &order, &console, params);
		json_object_set_new(result, "file_writable", json_boolean(rc == 0));
		json_object_set_new(result, "file_matches", json_boolean(rc == 0));
	}
	if (rc == 0)
		rc = open_pauser(ctx, &order);
	pthread_mutex_unlock(&order.endpoint->lock);
	/* a test that does not work before the move tells nothing after it */
	if (rc == 0 && *smoke)
		rc = smoke_test(ctx, order.bouncer, smoke, "", admin_timeout_ms(order.bouncer));
	console_clear(&console);
	if (order.endpoint->probed)
		retry_soon(order.endpoint); /* a login that the RELOAD has broken off */
	return rc;
}
