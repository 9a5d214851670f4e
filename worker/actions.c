/*
 * actions.c - what all actions use: finding one, failing, details.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "worker/run.h"

/* The action of that name, or NULL. */
const Action *
action_find(const char *name)
{
	const Action *tables[] = {actions_of_gate, actions_of_agents, actions_of_settings};

	for (int t = 0; t < lengthof(tables); t++)
		for (const Action *a = tables[t]; a->name != NULL; a++)
			if (strcmp(a->name, name) == 0)
				return a;
	return NULL;
}

/* The step failed, and this is why. Whether the run fails with it is not known here. */
ActionResult
step_fail(Step *step, const char *sqlstate, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(step->message, sizeof(step->message), fmt, args);
	va_end(args);
	verdict_set(&step->verdict, sqlstate, step->message);
	return ACTION_FAILED;
}

/* What the step left behind for its undo and for the report; NULL if nothing. Release it. */
json_t *
step_detail(Step *step)
{
	json_error_t err;

	return step->detail ? json_loads(step->detail, 0, &err) : NULL;
}

/* Keeps `detail` (borrowed) with the step. */
void
step_keep(Step *step, json_t *detail)
{
	char	   *text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;

	if (text != NULL)
		step->detail = pstrdup(text);
	free(text);
}

/* Lets go of the step's call. */
void
step_release(Step *step)
{
	agents_release(step->call);
	step->call = NULL;
}

const char *
json_text(json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

int
run_option_int(Run *run, const char *name, int otherwise)
{
	json_t	   *value = json_object_get(run->options, name);

	return json_is_integer(value) ? (int) json_integer_value(value) : otherwise;
}

const char *
run_option_text(Run *run, const char *name, const char *otherwise)
{
	const char *value = json_string_value(json_object_get(run->options, name));

	return value ? value : otherwise;
}

RunNode *
run_node(Run *run, const char *name)
{
	for (int i = 0; i < run->nnodes; i++)
		if (strcmp(run->nodes[i].name, name) == 0)
			return &run->nodes[i];
	return NULL;
}

/* Nobody waits for it: it was let go before, or this run lets it go. */
bool
run_node_is_away(Run *run, RunNode *node)
{
	return node->away || (run->moves && strcmp(node->name, run->source) == 0 &&
						  strcmp(run_option_text(run, "old_primary", "rejoin"), "leave") == 0);
}

RunRoute *
run_route(Run *run, const char *name)
{
	for (int i = 0; i < run->nroutes; i++)
		if (strcmp(run->routes[i].name, name) == 0)
			return &run->routes[i];
	return NULL;
}

/* The point of no return; NULL in a runbook without one. */
Step *
run_promote_step(Run *run)
{
	for (int i = 0; i < run->nsteps; i++)
		if (strcmp(run->steps[i].name, "promote") == 0)
			return &run->steps[i];
	return NULL;
}

static const char *const step_states[] = {"pending", "running", "succeeded", "failed", "skipped", "undone"};

const char *
step_state_name(StepState state)
{
	return step_states[state];
}

StepState
step_state_from(const char *name)
{
	for (int i = 0; i < lengthof(step_states); i++)
		if (strcmp(step_states[i], name) == 0)
			return (StepState) i;
	return STEP_PENDING;
}
