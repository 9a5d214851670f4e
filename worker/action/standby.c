/*
 * standby.c - standbys: they follow the new primary, the old primary becomes one, or it is stopped and left sealed.
 */
#include "postgres.h"

#include "common/sqlstate.h"
#include "worker/action/action.h"
#include "worker/job.h"
#include "worker/journal.h"

static ActionResult
stream_from(Run *run, Step *step, const char *node, RunNode *upstream, const char *action, json_t *more)
{
	RunNode    *n = run_node(run, node);
	json_t	   *params;

	if (n == NULL || upstream == NULL)
	{
		json_decref(more);
		return step_fail(step, STATE_UNDEFINED_OBJECT, "node \"%s\" does not exist", n ? run->target : node);
	}
	params = json_pack("{s:s, s:i, s:s, s:s, s:i}", "host", upstream->host, "port", upstream->port, "slot", n->slot,
					   "name", n->name, "timeout_ms", step->timeout_ms);
	json_object_update(params, more);
	json_decref(more);
	return job_begin(run, step, node, action, params);
}

/*
 * What proves that a node's WAL past the fork holds nothing of clients: the seal of the run that left the timeline. A
 * rebuild takes that of the last run that made this server the primary.
 */
static json_t *
seal_params(Run *run)
{
	char		lsn[32];
	int			timeline = (int) json_integer_value(json_object_get(run->notes, "timeline"));
	XLogRecPtr	seal = run->seal_lsn;

	if (!run->moves)
		journal_last_seal(&timeline, &seal);
	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(seal));
	return json_pack("{s:s, s:i}", "seal_lsn", lsn, "seal_timeline", seal == InvalidXLogRecPtr ? 0 : timeline);
}

static ActionResult
follow_begin(Run *run, Step *step)
{
	json_t	   *more = seal_params(run);

	/* the second round of a standby that cannot follow is a rewind */
	if (step->round > 1)
		json_object_set_new(more, "method", json_string("auto"));
	return stream_from(run, step, step->node, run_node(run, run->target),
					   step->round > 1 ? ACTION_PG_REJOIN : ACTION_PG_FOLLOW, more);
}

static ActionResult
rejoin_begin(Run *run, Step *step)
{
	bool		rebuild = !run->moves;
	json_t	   *more = seal_params(run);

	json_object_set_new(more, "method", json_string(run_option_text(run, "method", "auto")));
	json_object_set_new(more, "readers_grace_ms", json_integer(run_option_int(run, "readers_grace_ms", 2000)));
	if (rebuild && json_is_array(json_object_get(run->options, "carry")))
		json_object_set(more, "carry", json_object_get(run->options, "carry"));
	if (rebuild && run_option_text(run, "risk", "")[0])
		json_object_set_new(more, "risk", json_string(run_option_text(run, "risk", "")));
	return stream_from(run, step, step->node, run_node(run, rebuild ? run->source : run->target), ACTION_PG_REJOIN,
					   more);
}

/* It was refused before the node was changed: the order was not taken, or no way was tried. */
static bool
refused_untouched(AgentCall *call)
{
	json_t	   *tried = json_object_get(protocol_result(call->body, 0), "tried");

	if (call->status != 200)
		return true;
	return json_is_array(tried) ? json_array_size(tried) == 0 : protocol_result(call->body, 0) == NULL;
}

/* What only this node had is gone from it, and kept aside on its host. */
static void
tell_lost(Step *step, json_t *lost)
{
	size_t		used = strlen(step->message);

	if (json_is_object(lost))
		snprintf(step->message + used, sizeof(step->message) - used,
				 "; %lld transactions of its own are lost, their WAL is kept there in %s",
				 (long long) json_integer_value(json_object_get(lost, "commits")), protocol_text(lost, "kept"));
}

/* For the report: by which way, and why not by a cheaper one. */
static ActionResult
rejoin_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	json_t	   *done = step->call && step->call->body ? protocol_result(step->call->body, 0) : NULL;
	json_t	   *why;
	size_t		i;

	if (result == ACTION_FAILED && step->call && step->call->body)
		step->untouched = refused_untouched(step->call);
	if (result != ACTION_DONE)
		return result;
	journal_set_away(step->node, false);
	snprintf(step->message, sizeof(step->message), "by %s", protocol_text(done, "method"));
	tell_lost(step, json_object_get(done, "lost"));
	json_array_foreach(json_object_get(done, "fallbacks"), i, why)
	{
		size_t		used = strlen(step->message);

		if (json_is_string(why))
			snprintf(step->message + used, sizeof(step->message) - used, "; not by %s", json_string_value(why));
	}
	return ACTION_DONE;
}

/* The old primary is away from now on: no run waits for it, even if its agent can no longer stop it. */
static ActionResult
retire_begin(Run *run, Step *step)
{
	journal_set_away(step->node, true);
	return job_begin(run, step, step->node, ACTION_PG_RETIRE,
					 json_pack("{s:i}", "readers_grace_ms", run_option_int(run, "readers_grace_ms", 2000)));
}

const Action standby_actions[] = {
	{"follow", follow_begin, rejoin_advance, ACTION_MAKES_STANDBY, ACTION_PG_FOLLOW " " ACTION_PG_REJOIN},
	{"rejoin", rejoin_begin, rejoin_advance, ACTION_MAKES_STANDBY, ACTION_PG_REJOIN},
	{"retire", retire_begin, job_advance, 0, ACTION_PG_RETIRE},
	{NULL}
};
