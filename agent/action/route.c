/*
 * route.c
 *		route.*: what a run wants of a router of any kind.
 *
 * Commits of one endpoint come one after the other, and each one looks whether it is still wanted when its turn has
 * come: an order of before that hangs (a program, a router) must not point the route back behind a newer one.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/action/route.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/job/epoch.h"
#include "agent/job/params.h"
#include "agent/route/drivers.h"
#include "common/sqlstate.h"

#define TURN_LIMIT_MS 30000		/* so long a commit waits for one that is under way */
#define TURN_LOOK_MS 20			/* how soon a cancelled one that waits is noticed */

/* Lives as long as the process, one for each name ever used. */
typedef struct Turn
{
	struct Turn *next;
	char	   *name;
	bool		taken;
} Turn;

static pthread_mutex_t turns_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_ended = PTHREAD_COND_INITIALIZER;
static Turn *turns;

/* ---- one commit at a time ---- */

/* The lock is held. */
static Turn *
turn_of(const char *name)
{
	Turn	   *turn = turns;

	while (turn && strcmp(turn->name, name) != 0)
		turn = turn->next;
	if (turn)
		return turn;
	turn = xalloc(sizeof(Turn));
	turn->name = xstrdup(name);
	turn->taken = false;
	turn->next = turns;
	turns = turn;
	return turn;
}

/* The lock is held; may return early. */
static void
wait_a_moment(void)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TURN_LOOK_MS * 1000000L;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_clockwait(&turn_ended, &turns_lock, CLOCK_MONOTONIC, &until);
}

/* NULL: it was cancelled before, or the one that is under way does not end. */
static Turn *
take_turn(ActionContext *ctx, const char *name)
{
	double		limit = clock_monotonic_ms() + TURN_LIMIT_MS;
	Turn	   *turn;

	pthread_mutex_lock(&turns_lock);
	turn = turn_of(name);
	while (turn->taken && clock_monotonic_ms() < limit && !action_cancelled(ctx))
		wait_a_moment();
	if (turn->taken || action_cancelled(ctx))
		turn = NULL;
	else
		turn->taken = true;
	pthread_mutex_unlock(&turns_lock);
	return turn;
}

static void
end_turn(Turn *turn)
{
	pthread_mutex_lock(&turns_lock);
	turn->taken = false;
	pthread_cond_broadcast(&turn_ended);
	pthread_mutex_unlock(&turns_lock);
}

static int
commit_in_turn(ActionContext *ctx, const RouteDriver *driver, json_t *params, json_t *result)
{
	int			rc;

	if (ctx->epoch < epoch_current())
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "an order of a newer epoch has come to endpoint \"%s.%s\" meanwhile", driver->name,
						   param_string(params, "endpoint", ""));
	rc = driver->commit(ctx, params, result);
	if (rc == 0)
		epoch_raise(ctx->epoch);	/* before the next one looks */
	return rc;
}

/* ---- actions ---- */

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
	char	   *name;
	Turn	   *turn;
	int			rc;

	if (!driver)
		return -1;
	name = xasprintf("%s.%s", driver->name, param_string(params, "endpoint", ""));
	turn = take_turn(ctx, name);
	if (turn)
	{
		rc = commit_in_turn(ctx, driver, params, result);
		end_turn(turn);
	}
	else if (action_cancelled(ctx))
		rc = action_fail(ctx, STATE_CANCELED, "the order to endpoint \"%s\" was cancelled", name);
	else
		rc = action_fail(ctx, STATE_LOCK_NOT_AVAILABLE, "an earlier order to endpoint \"%s\" is still under way",
						 name);
	free(name);
	return rc;
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
