/*
 * slots.c - makes the slots that a future standby needs, and drops those that no node will use.
 */
#include "postgres.h"

#include "worker/action/action.h"
#include "worker/job.h"
#include "worker/settings.h"

/* Slots on the new primary for all that will stream from it. */
static ActionResult
slots_begin(Run *run, Step *step)
{
	json_t	   *slots = json_array();
	ActionResult result;

	for (int i = 0; i < run->nnodes; i++)
	{
		RunNode    *n = &run->nodes[i];

		if (strcmp(n->kind, "postgres") != 0 || strcmp(n->name, step->node) == 0 ||
			(run->moves && run_node_is_away(run, n)))
			continue;
		if (!run->moves && !run_makes_standby(run, n->name))
			continue;
		if (n->upstream[0] == '\0' || strcmp(n->upstream, step->node) == 0 || strcmp(n->upstream, run->source) == 0)
			json_array_append_new(slots, json_string(n->slot));
	}
	result = job_begin(run, step, step->node, ACTION_SLOT_ENSURE, json_pack("{s:o}", "slots", slots));
	job_undo(run, ACTION_SLOT_DROP, json_new(), json_pack("{s:s}", "slots", "created"));
	return result;
}

static ActionResult
drop_slots_begin(Run *run, Step *step)
{
	json_t	   *detail = step_detail(step);
	json_t	   *created = json_incref(json_object_get(detail, "created"));

	json_decref(detail);
	if (created == NULL)		/* no answer was seen: the agent knows what it did for this run, if anything */
		return job_begin(run, step, step->node, ACTION_SLOT_DROP, json_pack("{s:b}", "of_run", 1));
	if (json_array_size(created) == 0)
	{
		json_decref(created);
		return ACTION_DONE;
	}
	return job_begin(run, step, step->node, ACTION_SLOT_DROP, json_pack("{s:o}", "slots", created));
}

/*
 * Slots that no node will use hold WAL for ever: on a standby those for nodes that stream from elsewhere, on the
 * primary those of nodes that are let go.
 */
static ActionResult
tidy_slots_begin(Run *run, Step *step)
{
	bool		on_primary = strcmp(step->node, worker_self()) == 0;
	json_t	   *stale = json_array();

	for (int i = 0; i < run->nnodes; i++)
	{
		RunNode    *n = &run->nodes[i];

		if (n->slot[0] && strcmp(n->name, step->node) != 0 && (!on_primary || run_node_is_away(run, n)))
			json_array_append_new(stale, json_string(n->slot));
	}
	return job_begin(run, step, step->node, ACTION_SLOT_DROP, json_pack("{s:o}", "slots", stale));
}

const Action slots_actions[] = {
	{"slots", slots_begin, job_advance, 0, ACTION_SLOT_ENSURE},
	{"drop_slots", drop_slots_begin, job_advance, 0, ACTION_SLOT_DROP},
	{"tidy_slots", tidy_slots_begin, job_advance, 0, ACTION_SLOT_DROP},
	{NULL}
};
