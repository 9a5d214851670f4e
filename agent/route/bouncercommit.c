/*
 * bouncercommit.c
 *		commit and release: the end of a pause, at the new place or where it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/job/params.h"
#include "agent/route/bouncercommit.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/route/bouncerorder.h"
#include "agent/route/console.h"
#include "agent/route/endpoint.h"
#include "agent/route/order.h"
#include "agent/route/proof.h"
#include "agent/route/resume.h"
#include "agent/route/retry.h"
#include "agent/route/stage.h"
#include "common/sqlstate.h"

#define RELOAD_AGAIN_MS 50

/* The file points to the new place.  Not durable yet: that is done when the clients go on. */
static int
write_file(Order *order, const char *host, int port, char *why, size_t why_size)
{
	char	   *text;
	char	   *next = NULL;
	int			rc = bouncer_file_read(order->bouncer->file, &text, why, why_size);

	if (rc < 0)
		return rc;
	if (!stage_use(order, text, host, port))
	{
		next = stage_text(order->databases, text, host, port, why, why_size);
		if (!next)
			rc = -1;
		else if (strcmp(next, text) != 0)
			rc = bouncer_file_replace(order->bouncer->file, next, why, why_size);
	}
	free(next);
	free(text);
	return rc;
}

/* What counts is where PgBouncer says that its databases point, whatever became of the RELOAD. */
static int
look(Order *order, const char *host, int port, const char *refusal, char *why, size_t why_size)
{
	PGresult   *shown = admin_control(order->endpoint, order->bouncer, "SHOW DATABASES", order->deadline, why,
									  why_size);
	int			rc = shown ? proof_leads(shown, order->databases, host, port, why, why_size) : -1;
	size_t		len = strlen(why);

	PQclear(shown);
	if (rc == 0 && refusal[0])
		log_warning("PgBouncer \"%s\" has taken over its databases, but said to RELOAD: %s", order->bouncer->name,
					refusal);
	if (rc < 0 && refusal[0])
		snprintf(why + len, why_size - len, "; RELOAD: %s", refusal);
	return rc;
}

/* RELOAD, and only then RESUME: nobody knows yet what a RELOAD does here. */
static int
go_on_seen(const AgentConfig *config, Order *order, const char *host, int port, char *why, size_t why_size)
{
	char		refusal[256] = "";
	PGresult   *res = admin_control(order->endpoint, order->bouncer, "RELOAD", order->deadline, refusal,
									sizeof(refusal));

	if (res)
		refusal[0] = '\0';
	PQclear(res);
	if (look(order, host, port, refusal, why, why_size) < 0)
		return -1;
	return order_release(config, order, why, why_size);
}

/*
 * RELOAD and RESUME in one go, then the look.  This run has proved a moment ago that a RELOAD takes effect, and a
 * client that logs in between the two makes PgBouncer begin a login at the new place which the pause breaks off, and
 * for that it refuses other clients.
 */
static int
go_on_proved(const AgentConfig *config, Order *order, const char *host, int port, json_t *result, char *why,
			 size_t why_size)
{
	char		refusal[256];

	if (admin_resume(order->endpoint, order->bouncer, order->databases, true, order->deadline, refusal,
					 sizeof(refusal), why, why_size) < 0)
		return -1;
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	order_end_databases(config, order);
	return look(order, host, port, refusal, why, why_size);
}

/* Again and again while there is time: after the promotion nothing else helps. */
static int
lead_to(ActionContext *ctx, Order *order, const char *host, int port, json_t *result)
{
	const char *proved_run = order->endpoint->proved_run;
	bool		proved = proved_run && strcmp(proved_run, ctx->run) == 0;
	char		why[512] = "";
	int			rc;

	for (;;)
	{
		rc = write_file(order, host, port, why, sizeof(why));
		if (rc == 0)
			rc = proved ? go_on_proved(ctx->config, order, host, port, result, why, sizeof(why)) :
				go_on_seen(ctx->config, order, host, port, why, sizeof(why));
		proved = false;
		if (rc == 0 || clock_monotonic_ms() + RELOAD_AGAIN_MS > order->deadline || action_cancelled(ctx))
			break;
		sleep_ms(RELOAD_AGAIN_MS);
	}
	if (rc == 0)
	{
		order->endpoint->probed = false;
		if (!json_object_get(result, "resumed_ms"))
			json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
		return 0;
	}
	json_object_del(result, "resumed_ms");
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" does not point to %s:%d: %s",
				order->bouncer->name,
				host, port, why);
	action_hint(ctx, "PgBouncer's log says what stops its RELOAD.  It must read \"%s\".", order->bouncer->file);
	return -1;
}

static void
sync_file(ActionContext *ctx, json_t *params)
{
	const BouncerConfig *bouncer = config_bouncer(ctx->config, param_string(params, "endpoint", ""));
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	char		why[512];

	retry_soon(endpoint);
	if (bouncer_file_sync(bouncer->file, why, sizeof(why)) < 0)
		log_warning("PgBouncer \"%s\": %s", bouncer->name, why);
	pthread_mutex_lock(&endpoint->lock);
	if (!endpoint->paused)
	{
		endpoint_close_pausers(endpoint);
		/* what was staged was not used: somebody has edited the file meanwhile */
		if (endpoint->stage.run && strcmp(endpoint->stage.run, ctx->run) == 0)
			stage_drop(endpoint, bouncer);
	}
	pthread_mutex_unlock(&endpoint->lock);
}

/*
 * Does the file say of the database what PgBouncer says, or where it belongs (NULL: not known)? Also if it has no
 * line for it.
 */
static bool
is_loaded(PGresult *shown, int row, const char *text, json_t *belongs)
{
	char	   *entry = bouncer_entry(text, PQgetvalue(shown, row, 0));
	char	   *host = entry ? bouncer_value(entry, "host") : NULL;
	char	   *port = entry ? bouncer_value(entry, "port") : NULL;
	int			number = port ? atoi(port) : BOUNCER_DEFAULT_PORT;
	const char *is_host = admin_column(shown, row, "host");
	const char *is_port = admin_column(shown, row, "port");
	bool		loaded = !entry ||
		(strcmp(host ? host : "", is_host ? is_host : "") == 0 && number == atoi(is_port ? is_port : "0")) ||
		(strcmp(host ? host : "", param_string(belongs, "host", "")) == 0 &&
		 number == (int) param_int(belongs, "port", 0));

	free(port);
	free(host);
	free(entry);
	return loaded;
}

/* Our RELOAD would load what somebody has edited and not loaded, of databases that are not of this order. */
static int
check_edits(ActionContext *ctx, Order *order, json_t *others)
{
	char		why[512];
	char	   *text;
	PGresult   *shown = order_control(ctx, order, "SHOW DATABASES");
	int			rc = shown ? 0 : -1;

	if (rc == 0 && bouncer_file_read(order->bouncer->file, &text, why, sizeof(why)) == 0)
	{
		for (int row = 0; rc == 0 && row < PQntuples(shown); row++)
		{
			const char *name = PQgetvalue(shown, row, 0);

			if (!json_object_get(order->databases, name) &&
				!is_loaded(shown, row, text, json_object_get(others, name)))
				rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
								 "\"%s\" has an edit of database \"%s\" that PgBouncer \"%s\" has not loaded",
								 order->bouncer->file, name, order->bouncer->name);
		}
		free(text);
	}
	PQclear(shown);
	return rc;
}

int
action_pgbouncer_commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *host;
	int			port;
	Order		order;
	int			rc;

	if (!order_place(params, &host, &port))
		return order_no_place(ctx);
	if (order_read(ctx, params, &order) < 0)
		return -1;
	order_lock(&order);
	if (json_is_object(json_object_get(params, "careful")) &&
		check_edits(ctx, &order, json_object_get(params, "careful")) < 0)
	{
		pthread_mutex_unlock(&order.endpoint->lock);
		return -1;
	}
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = lead_to(ctx, &order, host, port, result);
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc == 0)
		action_afterwards(ctx, sync_file, params);
	else
		retry_soon(order.endpoint);
	return rc;
}

/* What prepare has left, when the run does not come to its commit. */
static void
tidy_up(ActionContext *ctx, json_t *params)
{
	const BouncerConfig *bouncer = config_bouncer(ctx->config, param_string(params, "endpoint", ""));
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	char		error[256];

	pthread_mutex_lock(&endpoint->lock);
	if (!endpoint->paused)
		endpoint_close_pausers(endpoint);
	if (!endpoint->stage.run || strcmp(endpoint->stage.run, ctx->run) == 0)
		stage_drop(endpoint, bouncer);
	if (endpoint->probed)
	{
		PGresult   *res = admin_control(endpoint, bouncer, "RELOAD",
										clock_monotonic_ms() + admin_timeout_ms(bouncer), error,
										sizeof(error));

		endpoint->probed = res == NULL;
		PQclear(res);
	}
	pthread_mutex_unlock(&endpoint->lock);
	retry_soon(endpoint);
}

int
action_pgbouncer_release(ActionContext *ctx, json_t *params, json_t *result)
{
	char		error[256];
	Order		order;
	int			rc;

	if (order_read(ctx, params, &order) < 0)
		return -1;
	order_lock(&order);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = order_release(ctx->config, &order, error, sizeof(error));
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc < 0)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order.bouncer->name, error);
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	action_afterwards(ctx, tidy_up, params);
	return 0;
}
