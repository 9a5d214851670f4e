/*
 * route.c - routes: prepared, held, led to another server, looked at.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "worker/action/action.h"
#include "worker/job.h"
#include "worker/mailbox.h"

#define PAUSE_PATIENCE_MS	250 /* a transaction that takes longer is long */

/*
 * The processes of clients whose transaction has lasted for so long. Without
 * track_activities nobody knows how long, and none is named.
 */
static json_t *
long_transactions(int ms)
{
	json_t	   *pids = json_array();
	TimestampTz now = GetCurrentTimestamp();
	int			n;

	pgstat_clear_backend_activity_snapshot();
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n; i++)
	{
		PgBackendStatus *backend = &compat_local_beentry(i)->backendStatus;

		if (backend->st_procpid != 0 && backend->st_backendType == B_BACKEND && backend->st_xact_start_timestamp != 0 &&
			TimestampDifferenceExceeds(backend->st_xact_start_timestamp, now, ms))
			json_array_append_new(pids, json_integer(backend->st_procpid));
	}
	pgstat_clear_backend_activity_snapshot();
	return pids;
}

static json_t *
route_params(RunRoute *route)
{
	json_error_t err;

	return json_pack("{s:s, s:o, s:s*}", "endpoint", route->endpoint, "databases", json_loads(route->databases, 0, &err),
					 "smoke", route->smoke);
}

static ActionResult
route_job(Run *run, Step *step, const char *action, json_t *more)
{
	RunRoute   *route = run_route(run, step->node);
	json_t	   *params;

	if (route == NULL)
	{
		json_decref(more);
		return step_fail(step, "42704", "route \"%s\" does not exist", step->node);
	}
	params = route_params(route);
	if (more)
		json_object_update(params, more);
	json_decref(more);
	return job_begin(run, step, route->router, action, params);
}

/* Whether the standby of this run is one for certain: behind a move the old primary, else the node that was rebuilt. */
static bool
source_is_back(Run *run)
{
	return run_find_step(run, ACTION_MAKES_STANDBY, run->moves ? run->source : run->target, STEP_SUCCEEDED) != NULL;
}

/*
 * Where the route will lead. RW routes to the new primary. RO routes to the standby that has come: after a move the old
 * primary; while that is not back, what would lead there leads to the new primary. A route to another standby stays.
 */
static RunNode *
route_place(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	const char *standby = run->moves ? run->source : run->target;
	const char *primary = run->moves ? run->target : run->source;

	if (route == NULL || strcmp(route->kind, "ro") != 0)
		return run_node(run, primary);
	if (route->node[0] && strcmp(route->node, run->source) != 0 && strcmp(route->node, run->target) != 0)
		return run_node(run, route->node);
	return run_node(run, source_is_back(run) ? standby : primary);
}

/* A job that needs to know the place. */
static ActionResult
place_job(Run *run, Step *step, const char *action)
{
	RunNode    *to = route_place(run, step);

	if (to == NULL)
		return step_fail(step, "42704", "the node of route \"%s\" does not exist", step->node);
	return route_job(run, step, action, json_pack("{s:s, s:i}", "host", to->host, "port", to->port));
}

static ActionResult
prepare_route_begin(Run *run, Step *step)
{
	return place_job(run, step, ACTION_PGBOUNCER_PREPARE);
}

/* A site's own statement through the route. */
static ActionResult
smoke_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);

	if (route && route->smoke == NULL)
	{
		strlcpy(step->message, "the route has none", sizeof(step->message));
		return ACTION_DONE;
	}
	return route_job(run, step, ACTION_PGBOUNCER_SMOKE, NULL);
}

static ActionResult
prepare_route_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->node);

	if (result == ACTION_DONE && route)
	{
		json_t	   *modes = json_object_get(protocol_result(step->call->body, 0), "pool_mode");
		char	   *text = modes ? json_dumps(modes, JSON_COMPACT) : NULL;

		route->pool_modes = text ? pstrdup(text) : NULL;
		free(text);
	}
	return result;
}

/*
 * PAUSE is for the databases in transaction pooling. In session pooling it
 * cannot return while a client is there, and it is a trap: a client that logs
 * in between RELOAD and RESUME makes PgBouncer begin a login at the new
 * primary, which the pause then breaks off, and that counts as a failed login
 * (server_login_retry). There the gate does the holding. A database that has
 * pools of both kinds is paused: that spares the clients in transaction
 * pooling an error, and the others are not waited for.
 *
 * PAUSE returns when the transactions in flight are through. One that runs for
 * long already, a report say, is not waited for: it is left to the gate, which
 * stops it when it writes, and to the grace of readers. Nor is that of the
 * caller, who may be behind the pooler.
 *
 * The pooler ends the pause by itself should nobody else do it.
 */
static ActionResult
pause_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	json_error_t err;
	json_t	   *databases;
	json_t	   *modes;
	json_t	   *mode;
	json_t	   *ignore;
	const char *name;

	if (route == NULL)
		return step_fail(step, "42704", "route \"%s\" does not exist", step->node);
	databases = json_loads(route->databases, 0, &err);
	modes = route->pool_modes ? json_loads(route->pool_modes, 0, &err) : NULL;
	json_object_foreach(modes, name, mode)
		if (json_is_string(mode) && strcmp(json_string_value(mode), "session") == 0)
			json_object_del(databases, name);
	json_decref(modes);
	if (json_object_size(databases) == 0)
	{
		json_decref(databases);
		strlcpy(step->message, "session pooling: the gate holds", sizeof(step->message));
		return ACTION_DONE;
	}
	ignore = long_transactions(PAUSE_PATIENCE_MS);
	json_array_append_new(ignore, json_integer(mailbox_asker()));
	return route_job(run, step, ACTION_PGBOUNCER_PAUSE,
					 json_pack("{s:i, s:i, s:o, s:o}", "resume_after_ms", run_option_int(run, "max_blackout_ms", 10000) + 10000,
							   "patience_ms", PAUSE_PATIENCE_MS, "ignore", ignore, "databases", databases));
}

static ActionResult
pause_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);

	if (result == ACTION_DONE && !json_is_true(json_object_get(protocol_result(step->call->body, 0), "complete")))
		strlcpy(step->message, "long transactions were not waited for", sizeof(step->message));
	return result;
}

static ActionResult
release_begin(Run *run, Step *step)
{
	return route_job(run, step, ACTION_PGBOUNCER_RELEASE, NULL);
}

static ActionResult
repoint_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);

	if (route && strcmp(route->kind, "ro") == 0 && route->node[0] == '\0' && !run->moves && !source_is_back(run))
	{
		strlcpy(step->message, "it leads to no node that is known; left as it is", sizeof(step->message));
		return ACTION_DONE;
	}
	return place_job(run, step, ACTION_PGBOUNCER_COMMIT);
}

static ActionResult
repoint_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->node);
	RunNode    *to = route_place(run, step);

	if (result == ACTION_DONE && route && to)
		strlcpy(route->node, to->name, sizeof(route->node));
	return result;
}

const Action route_actions[] = {
	{"prepare_route", prepare_route_begin, prepare_route_advance, 0, ACTION_PGBOUNCER_PREPARE},
	{"smoke", smoke_begin, job_advance, 0, ACTION_PGBOUNCER_SMOKE},
	{"pause", pause_begin, pause_advance, 0, ACTION_PGBOUNCER_PAUSE},
	{"release", release_begin, job_advance, 0, ACTION_PGBOUNCER_RELEASE},
	{"repoint", repoint_begin, repoint_advance, ACTION_LEADS_ROUTE, ACTION_PGBOUNCER_COMMIT},
	{NULL}
};
