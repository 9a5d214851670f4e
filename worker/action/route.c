/*
 * route.c - routes: prepared, held, pointed to another server, looked at.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "common/sqlstate.h"
#include "pg_compat.h"
#include "worker/action/action.h"
#include "worker/db.h"
#include "worker/job.h"
#include "worker/mailbox.h"

#define HOLD_PATIENCE_MS	250 /* a transaction that takes longer is long */

/*
 * The processes of clients whose transaction has lasted for so long. Without
 * track_activities the time is not known, and none is named.
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

		if (backend->st_procpid != 0 && backend->st_backendType == B_BACKEND &&
			backend->st_xact_start_timestamp != 0 &&
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

	return json_pack("{s:s, s:s, s:s, s:o, s:s*}", "driver", route->driver, "endpoint", route->endpoint, "kind",
					 route->kind, "databases", json_loads(route->databases, 0, &err), "smoke", route->smoke);
}

static ActionResult
route_job(Run *run, Step *step, const char *action, json_t *more)
{
	RunRoute   *route = run_route(run, step->node);
	json_t	   *params;

	if (route == NULL)
	{
		json_decref(more);
		return step_fail(step, STATE_UNDEFINED_OBJECT, "route \"%s\" does not exist", step->node);
	}
	params = route_params(route);
	if (more)
		json_object_update(params, more);
	json_decref(more);
	return job_begin(run, step, route->router, action, params);
}

/*
 * The standby of this run that is one for certain: after a move the old primary, else a node that was made one. NULL:
 * none is yet.
 */
static const char *
standby_of(Run *run)
{
	Step	   *step = run_find_step(run, ACTION_MAKES_STANDBY, run->moves ? run->source : NULL, STEP_SUCCEEDED);

	return step ? step->node : NULL;
}

/* Is the node one that the run leaves where it is? Its own are the source, the target, and what it makes standbys. */
static bool
is_bystander(Run *run, const char *node)
{
	if (strcmp(node, run->source) == 0 || strcmp(node, run->target) == 0)
		return false;
	return run->moves || !run_makes_standby(run, node);
}

static bool
is_ro(const RunRoute *route)
{
	return strcmp(route->kind, "ro") == 0;
}

/* The node that the caller of the run wants, where the run is for that; NULL: it is not. */
static const char *
wanted_node(Run *run)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].action->traits & ACTION_SETS_ROUTE)
			return run_option_text(run, "node", "");
	return NULL;
}

/*
 * Where the route will point. RW routes to the new primary. RO routes to the standby that has come; while none is
 * there, what would point to it points to the primary. A route to another standby stays.
 */
static RunNode *
route_place(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	const char *primary = run->moves ? run->target : run->source;
	const char *standby = standby_of(run);

	if (wanted_node(run))
		return run_node(run, wanted_node(run));
	if (route == NULL || !is_ro(route))
		return run_node(run, primary);
	if (route->node[0] && is_bystander(run, route->node))
		return run_node(run, route->node);
	return run_node(run, standby ? standby : primary);
}

static json_t *
place_of(const RunNode *node)
{
	return json_pack("{s:s, s:i}", "host", node->host, "port", node->port);
}

/*
 * Of a route that is spread, if it is to point there still: all its places, that one first, and not the primary
 * besides standbys. NULL: there is one.
 */
static json_t *
places_of(Run *run, RunRoute *route, const RunNode *first)
{
	json_error_t err;
	json_t	   *nodes = route && route->nodes ? json_loads(route->nodes, 0, &err) : NULL;
	json_t	   *places = json_array();
	json_t	   *name;
	size_t		i;
	bool		among = false;
	const char *primary = run->moves ? run->target : run->source;

	json_array_append_new(places, place_of(first));
	json_array_foreach(nodes, i, name)
	{
		RunNode    *node = run_node(run, json_string_value(name));

		if (node == first)
			among = true;
		else if (node && strcmp(node->name, primary) != 0)
			json_array_append_new(places, place_of(node));
	}
	json_decref(nodes);
	if (among && json_array_size(places) > 1)
		return places;
	json_decref(places);
	return NULL;
}

/* What the runbook says of the step: nobody has asked for it. */
static bool
is_careful(const Step *step)
{
	json_error_t err;
	json_t	   *params = step->params ? json_loads(step->params, 0, &err) : NULL;
	bool		careful = json_is_true(json_object_get(params, "careful"));

	json_decref(params);
	return careful;
}

/* Where the databases of other routes of the same router belong. */
static json_t *
others_of(Run *run, const RunRoute *route)
{
	json_error_t err;
	json_t	   *others = json_new();

	for (int e = 0; e < run->nroutes; e++)
	{
		RunRoute   *other = &run->routes[e];
		RunNode    *node = run_node(run, is_ro(other) ? other->node : run->source);
		json_t	   *databases;
		json_t	   *unused;
		const char *name;

		if (other == route || node == NULL || strcmp(other->router, route->router) != 0 ||
			strcmp(other->endpoint, route->endpoint) != 0 || strcmp(other->driver, route->driver) != 0)
			continue;
		databases = json_loads(other->databases, 0, &err);
		json_object_foreach(databases, name, unused)
			json_object_set_new(others, name, place_of(node));
		json_decref(databases);
	}
	return others;
}

/* A job that needs to know the place. */
static ActionResult
place_job(Run *run, Step *step, const char *action)
{
	RunNode    *to = route_place(run, step);
	RunRoute   *route = run_route(run, step->node);
	json_t	   *params;
	json_t	   *places;

	if (to == NULL)
		return step_fail(step, STATE_UNDEFINED_OBJECT, "the node of route \"%s\" does not exist", step->node);
	if (route && !is_ro(route) && strcmp(to->name, run->moves ? run->target : run->source) != 0)
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "rw route \"%s\" cannot point to \"%s\", which is "
						 "not the primary", route->route, to->name);
	params = place_of(to);
	if (is_careful(step) && route)
		json_object_set_new(params, "careful", others_of(run, route));
	places = places_of(run, route, to);
	if (places)
		json_object_set_new(params, "places", places);
	return route_job(run, step, action, params);
}

/*
 * How many of the route's endpoints say yes, where all of them have a step of this kind that has succeeded and say
 * yes or no; -1: they do not, or not yet. `step` is one that has just been answered.
 */
static int
yes_of_all(Run *run, Step *step, const char *word)
{
	RunRoute   *route = run_route(run, step->node);
	int			yes = 0;

	for (int e = 0; route && e < run->nroutes; e++)
	{
		StepSaid	said = SAID_NOTHING;

		if (strcmp(run->routes[e].route, route->route) != 0)
			continue;
		for (int i = 0; i < run->nsteps; i++)
		{
			Step	   *other = &run->steps[i];

			if (other->action == step->action && other->ordinal == step->ordinal &&
				strcmp(other->node, run->routes[e].name) == 0 && (other == step || other->state == STEP_SUCCEEDED))
				said = step_said(other, word);
		}
		if (said == SAID_NOTHING)
			return -1;
		yes += said == SAID_YES;
	}
	return route ? yes : -1;
}

/* Of endpoints of which one is the place: it is the last chance to see that none is, or several. */
static ActionResult
fail_unless_one(Run *run, Step *step, int yes)
{
	RunNode    *to = route_place(run, step);
	RunRoute   *route = run_route(run, step->node);

	if (yes < 0 || yes == 1 || to == NULL)
		return ACTION_DONE;
	if (yes == 0)
		step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
				  "no endpoint of route \"%s\" is at %s:%d, the place of \"%s\"", route->route, to->host, to->port,
				  to->name);
	else
		step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
				  "%d endpoints of route \"%s\" say that they are at %s:%d, the place of \"%s\"", yes, route->route,
				  to->host, to->port, to->name);
	strlcpy(step->failure.hint, "Exactly one of the agents must have it as \"host\" and \"port\" of the endpoint.",
			sizeof(step->failure.hint));
	return ACTION_FAILED;
}

static ActionResult
prepare_route_begin(Run *run, Step *step)
{
	return place_job(run, step, ACTION_ROUTE_PREPARE);
}

static bool
is_pending(Run *run, const char *endpoint)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].pending && strcmp(run->steps[i].node, endpoint) == 0)
			return true;
	return false;
}

/* A site's own statement through the route. */
static ActionResult
smoke_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);

	if (is_pending(run, step->node))
	{
		strlcpy(step->message, "the endpoint is pending", sizeof(step->message));
		return ACTION_DONE;
	}
	if (route && route->smoke == NULL)
	{
		strlcpy(step->message, "the route has none", sizeof(step->message));
		return ACTION_DONE;
	}
	return route_job(run, step, ACTION_ROUTE_SMOKE, NULL);
}

/* The databases whose clients the router can hold, as a list in JSON text. What is not told of is held by it. */
static char *
held_by_router(json_t *result)
{
	json_t	   *held = json_array();
	const char *name;
	json_t	   *database;
	char	   *text;
	char	   *copy;

	json_object_foreach(json_object_get(result, "databases"), name, database)
		if (strcmp(protocol_text(database, "held_by"), "gate") != 0)
			json_array_append_new(held, json_string(name));
	text = json_dumps(held, JSON_COMPACT);
	copy = text ? pstrdup(text) : NULL;
	free(text);
	json_decref(held);
	return copy;
}

/* A switchover's preflight has looked at it. NULL: the router has no such limit, or does not tell. */
static const char *
limit_below(json_t *result, double ms)
{
	static const char *const names[] = {"query_wait_timeout", "query_timeout"};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		double		seconds = json_number_value(json_object_get(result, names[i]));

		if (seconds > 0 && seconds * 1000 <= ms)
			return names[i];
	}
	return NULL;
}

static ActionResult
prepare_route_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->node);
	int			window = run_option_int(run, "max_blackout_ms", 10000);
	const char *limit = result == ACTION_DONE && !run->moves && !wanted_node(run) ?
		limit_below(protocol_result(step->call->body, 0), window) : NULL;

	if (limit)
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
						 "the router ends clients that wait longer than its %s, "
						 "which is not above the permitted window of %d s", limit, window / 1000);

	if (result == ACTION_DONE && route)
		route->held = held_by_router(protocol_result(step->call->body, 0));
	return result == ACTION_DONE ? fail_unless_one(run, step, yes_of_all(run, step, "here")) : result;
}

/* Those of the route that are held by the router: what prepare said. Unknown: all. A new reference. */
static json_t *
databases_to_hold(RunRoute *route)
{
	json_error_t err;
	json_t	   *databases = json_loads(route->databases, 0, &err);
	json_t	   *held = route->held ? json_loads(route->held, 0, &err) : NULL;
	json_t	   *those = json_new();
	json_t	   *name;
	size_t		i;

	if (held == NULL)
	{
		json_decref(those);
		return databases;
	}
	json_array_foreach(held, i, name)
		if (json_object_get(databases, json_string_value(name)))
			json_object_set(those, json_string_value(name), json_object_get(databases, json_string_value(name)));
	json_decref(held);
	json_decref(databases);
	return those;
}

/*
 * pause: the router holds its clients, and returns when the transactions in flight are through. One that runs for
 * long already, a report say, is not waited for: it is left to the gate, which stops it when it writes, and to the
 * grace of readers. Nor is that of the caller, which may come through the router. The gate holds what a router
 * cannot.
 *
 * The router ends it by itself if no order does.
 */
static ActionResult
pause_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	json_t	   *databases;
	json_t	   *ignore;

	if (route == NULL)
		return step_fail(step, STATE_UNDEFINED_OBJECT, "route \"%s\" does not exist", step->node);
	route->held_ms = 0;
	databases = databases_to_hold(route);
	if (json_object_size(databases) == 0)
	{
		json_decref(databases);
		strlcpy(step->message, "the router cannot hold its clients, the gate does", sizeof(step->message));
		return ACTION_DONE;
	}
	ignore = long_transactions(HOLD_PATIENCE_MS);
	json_array_append_new(ignore, json_integer(mailbox_asker()));
	return route_job(run, step, ACTION_ROUTE_HOLD,
					 json_pack("{s:i, s:i, s:o, s:o}", "resume_after_ms",
							   run_option_int(run, "max_blackout_ms", 10000) + 10000,
							   "patience_ms", HOLD_PATIENCE_MS, "ignore", ignore, "databases", databases));
}

static ActionResult
pause_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->node);

	if (result == ACTION_DONE && route && step->call)
		route->held_ms = json_number_value(json_object_get(step->call->body, "received_ms"));
	if (result == ACTION_DONE && !json_is_true(json_object_get(protocol_result(step->call->body, 0), "complete")))
		strlcpy(step->message, "long transactions were not waited for", sizeof(step->message));
	return result;
}

static ActionResult
release_begin(Run *run, Step *step)
{
	return route_job(run, step, ACTION_ROUTE_RELEASE, NULL);
}

static ActionResult
repoint_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	const char *primary = run->moves ? run->target : run->source;

	if (route && is_ro(route) && route->node[0] == '\0' && !run->moves && standby_of(run) == NULL)
	{
		strlcpy(step->message, "it points to no known node; left as it is", sizeof(step->message));
		return ACTION_DONE;
	}
	if (route && is_ro(route) && !route->fallback && strcmp(route->node, primary) != 0 &&
		route_place(run, step) == run_node(run, primary))
	{
		strlcpy(step->message, "no standby is there, and it may not point to the primary; left as it is",
				sizeof(step->message));
		return ACTION_DONE;
	}
	return place_job(run, step, ACTION_ROUTE_COMMIT);
}

static ActionResult
repoint_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->node);
	RunNode    *to = route_place(run, step);

	if (result == ACTION_DONE && route && to)
	{
		strlcpy(route->node, to->name, sizeof(route->node));
		route->resumed_ms = json_number_value(json_object_get(protocol_result(step->call->body, 0), "resumed_ms"));
		if (yes_of_all(run, step, "serves") == 0)
			return fail_unless_one(run, step, 0);
	}
	return result;
}

/* ---- set_route: the caller says where ---- */

static ActionResult
lead_begin(Run *run, Step *step)
{
	return place_job(run, step, ACTION_ROUTE_COMMIT);
}

/* Where the router said that the first of the databases pointed before; false: it did not. */
static bool
place_before(Run *run, const char *endpoint, json_t **place)
{
	json_t	   *detail = NULL;
	const char *name;
	json_t	   *database;
	void	   *at;

	for (int i = 0; i < run->nsteps && detail == NULL; i++)
		if (strcmp(run->steps[i].node, endpoint) == 0 && run->steps[i].action->orders &&
			strcmp(run->steps[i].action->orders, ACTION_ROUTE_PREPARE) == 0)
			detail = step_detail(&run->steps[i]);
	at = json_object_iter(json_object_get(detail, "databases"));
	name = at ? json_object_iter_key(at) : NULL;
	database = name ? json_object_iter_value(at) : NULL;
	*place = json_integer_value(json_object_get(database, "port")) > 0 && protocol_text(database, "host")[0] ?
		json_pack("{s:s, s:i}", "host", protocol_text(database, "host"), "port",
				  (int) json_integer_value(json_object_get(database, "port"))) : NULL;
	json_decref(detail);
	return *place != NULL;
}

/* Back to the node that the table still names, or else to where the router said that it was. */
static ActionResult
lead_back_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	RunNode    *node = route && route->node[0] ? run_node(run, route->node) : NULL;
	json_t	   *place;

	if (node)
		place = place_of(node);
	else if (!place_before(run, step->node, &place))
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "it is not known where it pointed before");
	return route_job(run, step, ACTION_ROUTE_COMMIT, place);
}

/*
 * Through the route, as a client: this cluster, the role that is meant, and, of an rw route, a transaction that
 * writes. One row, true.
 */
static ActionResult
probe_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->node);
	RunNode    *to = route_place(run, step);
	char		sql[512];
	const char *role = "";
	json_error_t err;
	json_t	   *databases = json_loads(route ? route->databases : "{}", 0, &err);
	void	   *first = json_object_iter(databases);
	json_t	   *params;

	if (route && !is_ro(route))
		role = " AND NOT pg_catalog.pg_is_in_recovery() "
			"AND pg_catalog.current_setting('transaction_read_only') = 'off' "
			"AND pg_catalog.pg_current_xact_id() IS NOT NULL";
	else if (to)
		role = strcmp(to->name, run->source) == 0 ? " AND NOT pg_catalog.pg_is_in_recovery()" :
			" AND pg_catalog.pg_is_in_recovery()";
	snprintf(sql, sizeof(sql), "SELECT system_identifier = " UINT64_FORMAT "%s FROM pg_catalog.pg_control_system()",
			 GetSystemIdentifier(), role);
	params = json_pack("{s:s, s:s*}", "smoke", sql, "database", first ? json_object_iter_key(first) : NULL);
	json_decref(databases);
	return route_job(run, step, ACTION_ROUTE_SMOKE, params);
}

/* An endpoint without a login for this, or a router without a way: its driver has looked where it points. */
static ActionResult
probe_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	const char *why = step->failure.sqlstate;

	if (result != ACTION_FAILED || (strcmp(why, STATE_UNDEFINED_OBJECT) != 0 &&
									strcmp(why, STATE_FEATURE_NOT_SUPPORTED) != 0))
		return result;
	memset(&step->failure, 0, sizeof(step->failure));
	strlcpy(step->message, "not probed: the agent has no login for it (\"smoke\" of its endpoint)",
			sizeof(step->message));
	return ACTION_DONE;
}

static ActionResult
keep_route_begin(Run *run, Step *step)
{
	db_begin();
	db_exec("UPDATE pingpong.route SET node = $2, nodes = NULL, home = CASE WHEN kind = 'ro' THEN $2 END "
			"WHERE name = $1", 2, run_option_text(run, "route", ""), run_option_text(run, "node", ""));
	db_exec("SELECT pingpong_internal.route_note('info', 'route moved', $1, "
			"pg_catalog.format('route \"%s\" points to %s: set by %s', $1, $2, $3))", 3,
			run_option_text(run, "route", ""), run_option_text(run, "node", ""), run->requested_by);
	db_end();
	return ACTION_DONE;
}

const Action route_actions[] = {
	{"prepare_route", prepare_route_begin, prepare_route_advance, 0, ACTION_ROUTE_PREPARE},
	{"smoke", smoke_begin, job_advance, 0, ACTION_ROUTE_SMOKE},
	{"pause", pause_begin, pause_advance, 0, ACTION_ROUTE_HOLD},
	{"release", release_begin, job_advance, ACTION_ONCE | ACTION_ENDS_ALONE, ACTION_ROUTE_RELEASE},
	{"repoint", repoint_begin, repoint_advance, ACTION_LEADS_ROUTE, ACTION_ROUTE_COMMIT},
	{"lead", lead_begin, job_advance, ACTION_SETS_ROUTE, ACTION_ROUTE_COMMIT},
	{"lead_back", lead_back_begin, job_advance, 0, ACTION_ROUTE_COMMIT},
	{"probe", probe_begin, probe_advance, 0, ACTION_ROUTE_SMOKE},
	{"keep_route", keep_route_begin, NULL, 0, NULL},
	{NULL}
};
