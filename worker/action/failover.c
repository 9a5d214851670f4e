/*
 * failover.c - the actions that only a failover has: the claim of its epoch, the fence of the old primary, the second
 * look at it, and letting it go.
 *
 * The claim, then the second look: whoever opens the old primary asks the agents first (a guard at boot). Either it
 * asks after the claim, and waits; or it has asked before it, and then the second look finds its server.
 */
#include "postgres.h"

#include "common/sqlstate.h"
#include "worker/action/action.h"
#include "worker/job.h"
#include "worker/journal.h"
#include "worker/settings.h"
#include "worker/sight.h"

#define RISK_TWO_PRIMARIES "two primaries are possible"

/* It must outlast the steps up to the token, which is a claim itself: groups one after the other. */
static int
claim_ttl_ms(Run *run)
{
	int			ttl_ms = run_token_ttl_ms(run);
	int			group_ms = 0;

	for (int i = 0; i < run->nsteps && run->steps[i].mark != MARK_NO_RETURN; i++)
	{
		group_ms = Max(group_ms, run->steps[i].timeout_ms);
		if (i + 1 == run->nsteps || run->steps[i + 1].ordinal != run->steps[i].ordinal)
		{
			ttl_ms += group_ms;
			group_ms = 0;
		}
	}
	return ttl_ms;
}

/* The target's agent makes the claim at the arbiter, too: it must have its word for the promotion in any case. */
static int
by_target(Run *run, Step *step)
{
	return strcmp(step->node, run->target) == 0;
}

static ActionResult
claim_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, ACTION_EPOCH_CLAIM,
					 json_pack("{s:i, s:b}", "ttl_ms", claim_ttl_ms(run), "arbiter", by_target(run, step)));
}

static ActionResult
unclaim_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, ACTION_EPOCH_RELEASE,
					 json_pack("{s:b}", "arbiter", by_target(run, step)));
}

/* ---- the fence ---- */

#define BY_AGENT		0
#define BY_HOOK			1

/* What the look has found: its agent answers, or that of `fencer` has the hook. */
static const char *
fencer(Run *run)
{
	return protocol_text(run->notes, "fencer");
}

static ActionResult
fence_begin(Run *run, Step *step)
{
	char		hook[PP_NAME_LEN + sizeof(PINGPONG_FENCE_HOOK)];

	step->phase = strcmp(fencer(run), step->node) == 0 ? BY_AGENT : BY_HOOK;
	if (fencer(run)[0] == '\0')
	{
		strlcpy(step->message, "not fenced, by the caller's risk: its agent does not answer, and no agent has a hook "
				"for it", sizeof(step->message));
		return ACTION_DONE;
	}
	if (step->phase == BY_AGENT)
		return job_begin(run, step, step->node, ACTION_PG_FENCE, json_pack("{s:s}", "target", run->target));
	snprintf(hook, sizeof(hook), "%s%s", PINGPONG_FENCE_HOOK, step->node);
	return job_begin(run, step, fencer(run), ACTION_HOOK,
					 json_pack("{s:s, s:i, s:[s, s]}", "name", hook, "timeout_ms", step->timeout_ms, "args",
							   step->node, run->target));
}

/* A fence that fails may be left out by who says so; one that was refused because its server answers may not. */
static ActionResult
fence_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	const char *risk = run_option_text(run, "risk", "");
	bool		answers = step->phase == BY_AGENT &&
		strcmp(step->failure.sqlstate, STATE_NOT_IN_PREREQUISITE_STATE) == 0;

	if (result == ACTION_DONE && step->phase == BY_HOOK)
		snprintf(step->message, sizeof(step->message), "by the hook of \"%s\"", fencer(run));
	else if (result == ACTION_DONE)
		strlcpy(step->message, json_is_true(json_object_get(protocol_result(step->call->body, 0), "sealed")) ?
				"down and sealed: it takes no write, whoever starts it" : "it has no data directory",
				sizeof(step->message));
	if (result != ACTION_FAILED || answers || strstr(risk, RISK_TWO_PRIMARIES) == NULL)
		return result;
	memset(&step->failure, 0, sizeof(step->failure));
	snprintf(step->message, sizeof(step->message), "not fenced, by the caller's risk: %s", pstrdup(step->message));
	return ACTION_DONE;
}

/* What a hook has switched off stays off. */
static ActionResult
unfence_begin(Run *run, Step *step)
{
	return strcmp(fencer(run), step->node) == 0 ?
		job_begin(run, step, step->node, ACTION_PG_UNFENCE, json_new()) : ACTION_DONE;
}

/* ---- the second look ---- */

static ActionResult
unseen_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, ACTION_PG_LOOK, sight_params(run, run->source));
}

/*
 * Each witness must hold this run's claim still: a guard that asks it now waits. One of another run, anywhere, is
 * another failover.
 */
static bool
is_claimed(Run *run, Step *step, json_t *seen)
{
	int64		claimed = json_integer_value(json_object_get(seen, "claimed"));
	bool		own = claimed == run->epoch && strcmp(protocol_text(seen, "claimed_by"), run->key) == 0;

	if (own || (claimed == 0 && strcmp(step->node, run->source) == 0))
		return true;
	if (claimed == 0)
		step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "the claim at \"%s\" is over", step->node);
	else
		step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "another failover has claimed epoch " INT64_FORMAT
				  " at \"%s\"", (int64) claimed, step->node);
	return false;
}

static ActionResult
unseen_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunNode    *node = run_node(run, step->node);
	json_t	   *seen = result == ACTION_DONE ? protocol_result(step->call->body, 0) : NULL;
	const char *role = protocol_text(seen, "role");

	if (result != ACTION_DONE)
		return result;
	if (!is_claimed(run, step, seen))
		return ACTION_FAILED;
	if (json_is_true(json_object_get(json_object_get(seen, "reach"), "reached")))
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" can be reached again, from \"%s\"",
						 run->source, step->node);
	if (strcmp(step->node, run->source) == 0 && json_is_true(json_object_get(seen, "running")))
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "the server of \"%s\" runs again", run->source);
	if (strcmp(role, "primary") == 0)
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" is a primary", step->node);
	if (json_is_true(json_object_get(seen, "streaming")) && node && node->upstream[0] == '\0')
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" streams again", step->node);
	return ACTION_DONE;
}

/* ---- behind the promotion ---- */

/* No later run waits for it, and none makes a slot for it. */
static ActionResult
let_go_begin(Run *run, Step *step)
{
	journal_set_away(step->node, true);
	snprintf(step->message, sizeof(step->message), "until pingpong.rebuild('%s')", step->node);
	return ACTION_DONE;
}

const Action failover_actions[] = {
	{"claim", claim_begin, job_advance, 0, ACTION_EPOCH_CLAIM},
	{"unclaim", unclaim_begin, job_advance, ACTION_ENDS_ALONE, ACTION_EPOCH_RELEASE},
	{"fence", fence_begin, fence_advance, 0, ACTION_PG_FENCE " " ACTION_HOOK},
	{"unfence", unfence_begin, job_advance, 0, ACTION_PG_UNFENCE},
	{"unseen", unseen_begin, unseen_advance, 0, ACTION_PG_LOOK},
	{"let_go", let_go_begin, NULL},
	{NULL}
};
