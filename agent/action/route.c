/*
 * route.c
 *		route.*: what a run wants of a router of any kind.
 */
#include "agent/action/route.h"
#include "agent/job/params.h"
#include "agent/route/drivers.h"
#include "common/sqlstate.h"

/* A worker of protocol 1 names none: it knew PgBouncer only.  NULL: the job has failed. */
static const RouteDriver *
driver_of(ActionContext *ctx, json_t *params)
{
	const char *name = param_string(params, "driver", pgbouncer_driver.name);
	const RouteDriver *driver = driver_find(name);

	if (!driver)
		action_fail(ctx, STATE_UNDEFINED_OBJECT, "this agent has no route driver \"%s\"", name);
	return driver;
}

/* Several places are refused where they would be taken for one.  NULL: the job has failed. */
static const RouteDriver *
driver_of_move(ActionContext *ctx, json_t *params)
{
	const RouteDriver *driver = driver_of(ctx, params);

	if (!driver || driver->several || !json_object_get(params, "places"))
		return driver;
	action_fail(ctx, STATE_FEATURE_NOT_SUPPORTED, "the route driver \"%s\" leads to one server at a time",
				driver->name);
	action_hint(ctx, "Turn that off: pingpong.alter_route(..., spread => false).");
	return NULL;
}

int
action_route_observe(ActionContext *ctx, json_t *params, json_t *result)
{
	const RouteDriver *driver = driver_of(ctx, params);

	return !driver ? -1 : driver->observe ? driver->observe(ctx, params, result) : 0;
}

int
action_route_prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	const RouteDriver *driver = driver_of_move(ctx, params);

	return !driver ? -1 : driver->prepare ? driver->prepare(ctx, params, result) : 0;
}

int
action_route_hold(ActionContext *ctx, json_t *params, json_t *result)
{
	const RouteDriver *driver = driver_of(ctx, params);

	return !driver ? -1 : driver->hold ? driver->hold(ctx, params, result) : 0;
}

int
action_route_commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const RouteDriver *driver = driver_of_move(ctx, params);

	return !driver ? -1 : driver->commit(ctx, params, result);
}

int
action_route_release(ActionContext *ctx, json_t *params, json_t *result)
{
	const RouteDriver *driver = driver_of(ctx, params);

	return !driver ? -1 : driver->release ? driver->release(ctx, params, result) : 0;
}

int
action_route_smoke(ActionContext *ctx, json_t *params, json_t *result)
{
	const RouteDriver *driver = driver_of(ctx, params);

	if (driver && !driver->smoke)
		return action_fail(ctx, STATE_FEATURE_NOT_SUPPORTED, "the route driver \"%s\" has no smoke test",
						   driver->name);
	return driver ? driver->smoke(ctx, params, result) : -1;
}
