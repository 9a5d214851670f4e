/*
 * bouncerorder.c
 *		What the orders to a PgBouncer have in common: what they begin with, and how they let clients go on.
 */
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/job/params.h"
#include "agent/route/bouncerini.h"
#include "agent/route/bouncerorder.h"
#include "agent/route/console.h"
#include "agent/route/order.h"
#include "agent/route/pause.h"
#include "agent/route/resume.h"
#include "common/sqlstate.h"

static int
database_fails(ActionContext *ctx, const char *name, json_t *extra)
{
	if (!bouncer_name_valid(name) || !json_is_string(extra) || !bouncer_text_valid(json_string_value(extra)))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"databases\" must map names to connection settings");
	if (!bouncer_extra_valid(json_string_value(extra)))
		return action_fail(ctx, STATE_INVALID_PARAMETER,
						   "a connection setting of database \"%s\" is not one that a route may have", name);
	return 0;
}

int
order_read(ActionContext *ctx, json_t *params, Order *order)
{
	const char *name = param_string(params, "endpoint", "");
	const char *database;
	json_t	   *extra;

	order->bouncer = config_bouncer(ctx->config, name);
	order->databases = json_object_get(params, "databases");
	if (!order->bouncer)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "no PgBouncer \"%s\" is configured", name);
	order->timeout_ms = param_int(params, "timeout_ms", admin_timeout_ms(order->bouncer));
	if (!json_is_object(order->databases) || json_object_size(order->databases) == 0 ||
		json_object_size(order->databases) > ENDPOINT_DATABASES_MAX)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"databases\" must name 1 to %d databases",
						   ENDPOINT_DATABASES_MAX);
	json_object_foreach(order->databases, database, extra)
		if (database_fails(ctx, database, extra) < 0)
			return -1;
	order->endpoint = endpoint_get(name);
	return 0;
}

void
order_lock(Order *order)
{
	pthread_mutex_lock(&order->endpoint->lock);
	order->deadline = clock_monotonic_ms() + (double) order->timeout_ms;
}

/* The host goes into a line of the file. */
bool
order_place(json_t *params, const char **host, int *port)
{
	*host = param_string(params, "host", "");
	*port = (int) param_int(params, "port", 0);
	return order_has_place(params) && strlen(*host) < 256 && bouncer_text_valid(*host) &&
		!strpbrk(*host, " '\\;#=,");
}

PGresult *
order_control(ActionContext *ctx, Order *order, const char *sql)
{
	char		error[256];
	PGresult   *res = admin_control(order->endpoint, order->bouncer, sql, order->deadline, error, sizeof(error));

	if (!res)
		action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	return res;
}

/*
 * What is left keeps its guard, and is over when that is.  A mark that could not be made
 * smaller does no harm: resumed twice is resumed.
 */
void
order_end_databases(const AgentConfig *config, Order *order)
{
	Endpoint   *endpoint = order->endpoint;
	const char *name;
	json_t	   *unused;

	json_object_foreach(order->databases, name, unused)
		json_object_del(endpoint->paused, name);
	if (json_object_size(endpoint->paused) > 0)
	{
		pause_mark(config, endpoint, endpoint->paused, &endpoint->pause_end);
		return;
	}
	pause_clear(config, endpoint);
	endpoint_end_pause(endpoint);
}

/* The lock is held.  What fails stays marked: the guard tries again at the deadline. */
int
order_release(const AgentConfig *config, Order *order, char *error, size_t error_size)
{
	char		unused[8];
	int			rc = admin_resume(order->endpoint, order->bouncer, order->databases, false, order->deadline,
								  unused, sizeof(unused), error, error_size);

	if (rc == 0)
		order_end_databases(config, order);
	return rc;
}
