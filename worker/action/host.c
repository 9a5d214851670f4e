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

const Action host_actions[] = {
	{"checkpoint", checkpoint_begin, job_advance, 0, ACTION_PG_CHECKPOINT},
	{"hook", hook_begin, job_advance, 0, ACTION_HOOK},
	{"warm", warm_begin, job_advance, 0, ACTION_PG_WARM},
	{NULL}
};
