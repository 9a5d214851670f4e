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

/* hook: a command that the agent's own configuration names; params {"name", "args"}. */
static ActionResult
hook_begin(Run *run, Step *step)
{
	json_error_t err;
	json_t	   *params = json_loads(step->params ? step->params : "{}", 0, &err);

	return job_begin(run, step, step->node, ACTION_HOOK, params ? params : json_new());
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
