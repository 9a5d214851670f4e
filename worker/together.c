/*
 * together.c
 *		Several steps as one job of an agent.
 *
 * The agent does the whole list, or undoes what it has done of it, without a further order:
 * also while the database is down, or when this worker has died. A successor orders the same
 * key again, and is told how far the job is.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/sqlstate.h"
#include "worker/job.h"
#include "worker/together.h"

/* ---- which steps ---- */

static bool
is_part(const Step *step, const Step *leader)
{
	return step->leader == leader && step->state != STEP_SKIPPED;
}

static void
refuse(Run *run, const Step *step, int sqlstate, const char *why)
{
	ereport(ERROR, (errcode(sqlstate),
					errmsg("step %s of \"%s\" in runbook \"%s\" cannot be part of the job \"%s\"", step->name,
						   step->node, run->runbook, step->job),
					errdetail("%s", why)));
}

/* Nothing else may stand between two steps of a job: it would be done before it, or after it, but not in between. */
static void
check_part(Run *run, const Step *leader, const Step *step)
{
	if (step->action->advance != job_advance || step->action->orders == NULL)
		refuse(run, step, ERRCODE_FEATURE_NOT_SUPPORTED, "This action is not done by an agent alone.");
	if (step->mine != leader->mine)
		refuse(run, step, ERRCODE_INVALID_PARAMETER_VALUE, "The steps of a job belong to one worker.");
	if (step->mark == MARK_AWAY && step != leader)
		refuse(run, step, ERRCODE_INVALID_PARAMETER_VALUE,
			   "Only the first step of a job can have the mark \"away\".");
	for (const Step *other = run->steps; other < run->steps + run->nsteps; other++)
		if (other->leader != leader && other != step && other->mine == leader->mine && other->state != STEP_SKIPPED &&
			other->ordinal > leader->ordinal && other->ordinal < step->ordinal)
			refuse(run, step, ERRCODE_INVALID_PARAMETER_VALUE, "The steps of a job must be neighbours.");
}

static Step *
find_leader(Run *run, const Step *step)
{
	for (Step *other = run->steps; other < step; other++)
		if (other->leader && strcmp(other->job, step->job) == 0 && strcmp(other->node, step->node) == 0)
			return other->leader;
	return NULL;
}

void
together_bind(Run *run)
{
	for (Step *step = run->steps; step < run->steps + run->nsteps; step++)
	{
		Step	   *leader;

		if (step->job[0] == '\0' || step->state == STEP_SKIPPED)
			continue;
		leader = find_leader(run, step);
		step->leader = leader ? leader : step;
		check_part(run, step->leader, step);
		if (leader)
			leader->timeout_ms = (int) Min((int64) leader->timeout_ms + step->timeout_ms, INT_MAX);
	}
}

/* ---- ordering ---- */

ActionResult
together_begin(Run *run, Step *leader)
{
	json_t	   *actions = json_array();

	for (Step *step = run->steps; step < run->steps + run->nsteps; step++)
	{
		ActionResult result;

		if (!is_part(step, leader))
			continue;
		run->collected = actions;
		result = step->action->begin(run, step);
		run->collected = NULL;
		if (result == ACTION_FAILED && step != leader)
		{
			leader->failure = step->failure;
			strlcpy(leader->message, step->message, sizeof(leader->message));
		}
		if (result == ACTION_FAILED)
		{
			json_decref(actions);
			return result;
		}
		if (step == leader)
			continue;
		step->state = result == ACTION_DONE ? STEP_SUCCEEDED : STEP_RUNNING;
		step->attempt++;
		step->started = GetCurrentTimestamp();
	}
	if (json_array_size(actions) == 0)
	{
		json_decref(actions);
		return ACTION_DONE;
	}
	return job_order(run, leader, leader->node, actions);
}

/* ---- answers ---- */

static void
fail_part(Step *step, json_t *error, const char *otherwise)
{
	const char *code = protocol_text(error, "code");
	const char *message = protocol_text(error, "message");

	step_fail(step, strlen(code) == 5 ? code : STATE_SYSTEM_ERROR, "%s", message[0] ? message : otherwise);
	step->state = STEP_FAILED;
}

/* False: the answer does not say which step is which, and nothing may be taken from its silence. */
static bool
names_steps(json_t *parts)
{
	json_t	   *part;
	size_t		i;

	json_array_foreach(parts, i, part)
		if (protocol_text(part, "step")[0] == '\0')
			return false;
	return json_array_size(parts) > 0;
}

/* What the agent says of that step; NULL: it was left out of the order, because there was nothing to do. */
static json_t *
part_of(json_t *parts, Step *step)
{
	char		key[sizeof(step->key)];
	json_t	   *part;
	size_t		i;

	step_key(step, key, sizeof(key));
	json_array_foreach(parts, i, part)
		if (strcmp(protocol_text(part, "step"), key) == 0)
			return part;
	return NULL;
}

/* The job has ended: what was not begun will not be. */
static void
take_part(Step *step, json_t *part)
{
	const char *state = protocol_text(part, "state");
	json_t	   *error = json_object_get(part, "error");

	step->ms = json_number_value(json_object_get(part, "took_ms"));
	if (part == NULL || strcmp(state, "succeeded") == 0)
	{
		step->state = STEP_SUCCEEDED;
		strlcpy(step->message, protocol_text(json_object_get(part, "result"), "message"), sizeof(step->message));
		step_keep(step, json_object_get(part, "result"));
	}
	else if (strcmp(state, "undone") == 0 && !json_is_object(error))
		step->state = STEP_UNDONE;
	else if (strcmp(state, "pending") == 0)
	{
		step->state = STEP_SKIPPED;
		strlcpy(step->message, "its job ended before", sizeof(step->message));
	}
	else
		fail_part(step, strcmp(state, "not undone") == 0 && !json_is_object(error) ?
				  json_object_get(part, "undo_error") : error, "its job failed");
	step->ended = GetCurrentTimestamp();
}

/* Without an answer all that was not done has failed as the leader has. */
static void
fail_rest(Run *run, Step *leader)
{
	for (Step *step = run->steps; step < run->steps + run->nsteps; step++)
		if (is_part(step, leader) && step != leader && step->state <= STEP_RUNNING)
		{
			step_fail(step, leader->failure.sqlstate[0] ? leader->failure.sqlstate : STATE_SYSTEM_ERROR, "%s",
					  leader->message);
			step->state = STEP_FAILED;
			step->ended = GetCurrentTimestamp();
		}
}

/*
 * The leader's own part of a job that has failed: it may have been done, or undone. If it was not begun, as no other
 * was, the job's own error stays what is told.
 */
static StepState
own_end(Step *leader, json_t *part)
{
	StepState	own;
	char		message[sizeof(leader->message)];

	if (strcmp(protocol_text(part, "state"), "pending") == 0)
		return STEP_FAILED;
	strlcpy(message, leader->message, sizeof(message));
	take_part(leader, part);
	own = leader->state;
	leader->state = STEP_RUNNING;
	if (own != STEP_FAILED)
		strlcpy(leader->message, message, sizeof(leader->message));
	return own;
}

static bool
another_failed(Run *run, Step *leader)
{
	for (Step *step = run->steps; step < run->steps + run->nsteps; step++)
		if (is_part(step, leader) && step != leader && step->state == STEP_FAILED)
			return true;
	return false;
}

ActionResult
together_look(Run *run, Step *leader, ActionResult result)
{
	json_t	   *parts = json_object_get(leader->call ? leader->call->body : NULL, "actions");
	StepState	own;

	if (result == ACTION_WAIT)
		return result;
	if (!names_steps(parts))
	{
		if (result == ACTION_FAILED)
			fail_rest(run, leader);
		return result;
	}
	for (Step *step = run->steps; step < run->steps + run->nsteps; step++)
		if (is_part(step, leader) && step != leader)
			take_part(step, part_of(parts, step));
	if (result != ACTION_FAILED)
		return result;
	own = own_end(leader, part_of(parts, leader));
	if (own == STEP_UNDONE)
		leader->undone = true;
	/* cancelled, say: if no other step tells that the job has failed, this one does */
	return (own == STEP_SUCCEEDED || own == STEP_UNDONE) && another_failed(run, leader) ? ACTION_DONE : ACTION_FAILED;
}
