/*
 * host.c - actions on a host that need nothing but its agent.
 */
#include "postgres.h"

#include "worker/action/action.h"
#include "worker/job.h"

static ActionResult
checkpoint_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, ACTION_PG_CHECKPOINT, json_new());
}

/*
 * hook: a command that the agent's own configuration names; params {"name", "args"}. In a job of several steps also
 * {"undo": {"name", "args"}}: what the agent runs when a later one of them fails.
 */
static ActionResult
hook_begin(Run *run, Step *step)
{
	json_error_t err;
	json_t	   *params = json_loads(step->params ? step->params : "{}", 0, &err);
	json_t	   *undo = json_incref(json_object_get(params, "undo"));
	ActionResult result;

	if (undo)
		json_object_del(params, "undo");
	result = job_begin(run, step, step->node, ACTION_HOOK, params ? params : json_new());
	if (undo)
		job_undo(run, ACTION_HOOK, undo, json_new());
	return result;
}

static ActionResult
warm_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, ACTION_PG_WARM, json_new());
}

/*
 * warm_routes: what the first logins on the new primary need is read there beforehand, in each database of the RW
 * routes. The agent takes the server's name of a database from its settings, if they have one.
 */
static ActionResult
warm_routes_begin(Run *run, Step *step)
{
	json_t	   *databases = json_new();

	for (int i = 0; i < run->nroutes; i++)
	{
		json_error_t err;
		json_t	   *those = json_loads(run->routes[i].databases, 0, &err);

		if (strcmp(run->routes[i].kind, "rw") == 0 && those)
			json_object_update(databases, those);
		json_decref(those);
	}
	if (json_object_size(databases) == 0)
	{
		json_decref(databases);
		strlcpy(step->message, "there is no RW route", sizeof(step->message));
		return ACTION_DONE;
	}
	return job_begin(run, step, step->node, ACTION_PG_WARM, json_pack("{s:o}", "databases", databases));
}

const Action host_actions[] = {
	{"checkpoint", checkpoint_begin, job_advance, 0, ACTION_PG_CHECKPOINT},
	{"hook", hook_begin, job_advance, 0, ACTION_HOOK},
	{"warm", warm_begin, job_advance, 0, ACTION_PG_WARM},
	{"warm_routes", warm_routes_begin, job_advance, 0, ACTION_PG_WARM},
	{NULL}
};
