/*
 * step.c - a step of a run: begun, looked at, tried again, given up, ended.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/sqlstate.h"
#include "worker/clock.h"
#include "worker/job.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/step.h"
#include "worker/together.h"

#define RETRY_US		(500 * 1000)
#define RETRY_SHORT_US	(2 * 1000 * 1000)	/* longest pause of a step whose time is short */
#define RETRY_LONG_US	(30 * 1000 * 1000)
#define LAST_WORD_MS	2000
#define SHORT_MS		(2 * 60 * 1000)

/*
 * The order of a later round, which is in the journal before it is given: a worker that goes on with the run in our
 * place goes on with the job that runs, and does not begin another one beside it. So is
 * any order in whose job the database may go.
 */
static ActionResult
order(Step *step)
{
	if ((step->round > 1 || step->mark == MARK_AWAY) && run_may_journal())
		journal_save_steps(run);
	return step->leader ? together_begin(run, step) : step->action->begin(run, step);
}

/* Looks at it: whether it has ended, and how. */
static ActionResult
advance(Step *step)
{
	ActionResult result;

	if (step->action->advance == NULL)
		return step->action->begin(run, step);
	result = step->action->advance(run, step);
	if (result == ACTION_AGAIN)
		return together_begin(run, step);
	return step->leader ? together_look(run, step, result) : result;
}

static void
step_begin(Step *step)
{
	step->state = STEP_RUNNING;
	step->attempt++;
	step->round = Max(step->round, 1);
	step->retry_at = 0;
	step->message[0] = '\0';
	step->started = GetCurrentTimestamp();
	INSTR_TIME_SET_CURRENT(step->clock);
	if (step->mark == MARK_BEGINS_BLACKOUT && run->moves && !run->blackout && !run->switched && !run->is_target)
	{
		run->blackout = true;
		run->blackout_began = step->clock;
	}
}

static void
step_ended(Step *step, StepState state)
{
	step->state = state;
	step->ended = GetCurrentTimestamp();
	step->ms = ms_since(step->clock);
	if (state == STEP_SUCCEEDED || state == STEP_UNDONE)
		mailbox_event("%-13s %-12s %8.1f ms%s%s", step->name, step->node, step->ms, step->message[0] ? "  " : "",
					  step->message);
	else
		mailbox_event("%-13s %-12s failed: %s", step->name, step->node, step->message);
}

static bool
time_is_up(Step *step)
{
	return step->mark != MARK_AWAY && ms_since(step->clock) > step->timeout_ms;
}

/*
 * Twice as long from attempt to attempt: what fails at once would fail a hundred times a minute, and each attempt may
 * cost the new primary a checkpoint.
 */
static int64
retry_pause_us(Step *step)
{
	bool		clients_wait = run->blackout && !run->switched;
	int64		longest = step->timeout_ms > SHORT_MS && !clients_wait ? RETRY_LONG_US : RETRY_SHORT_US;

	return Min(longest, (int64) RETRY_US << Min(Max(step->attempt - 1, 0), 10));
}

static void
say_given_up(Step *step)
{
	size_t		used = strlen(step->message);

	snprintf(step->message + used, sizeof(step->message) - used, "%sgiven up by pingpong.cancel()", used ? "; " : "");
}

/* A step that failed, or whose time is up. `step->clock` of a retried step is that of its first attempt. */
void
step_failed(Step *step)
{
	if (step->on_failure == FAIL_RETRY && !time_is_up(step))
	{
		step_release(step);
		step->retry_at = now_us() + retry_pause_us(step);
		step->post_at = 0;
		return;
	}
	if (step->given_up)
		say_given_up(step);
	step_ended(step, STEP_FAILED);
}

void
step_leave_pending(Step *step)
{
	size_t		used;

	step_release(step);
	step->retry_at = 0;
	step->pending = true;
	step->on_failure = FAIL_CONTINUE;
	if (step->message[0] == '\0')
		strlcpy(step->message, "it does not answer", sizeof(step->message));
	used = strlen(step->message);
	snprintf(step->message + used, sizeof(step->message) - used, "; left pending");
	step_ended(step, STEP_FAILED);
}

/*
 * The operator gives up a step that is tried again and again, or whose agent works for hours (pingpong.cancel). The
 * agent is told, and the step ends when it has ended there.
 */
void
step_give_up(Step *step)
{
	if (step->given_up || step->state != STEP_RUNNING || (step->leader && step->leader != step))
		return;
	step->given_up = true;
	step->on_failure = FAIL_CONTINUE;
	if (step->retry_at != 0 || step->key[0] == '\0')
	{							/* nobody works on it now */
		say_given_up(step);
		step->retry_at = 0;
		failure_set(&step->failure, STATE_CANCELED, step->message);
		step_ended(step, STEP_FAILED);
	}
	else
		job_cancel(run, step);
}

/* A step that cannot do its work without another one that was not done is skipped, and says so. */
static bool
lacks_what_it_needs(Step *step)
{
	if (step->needs[0] == '\0')
		return false;
	for (int i = 0; i < run->nsteps; i++)
		if (strcmp(run->steps[i].name, step->needs) == 0 && run->steps[i].state == STEP_SUCCEEDED)
			return false;
	step->state = STEP_SKIPPED;
	snprintf(step->message, sizeof(step->message), "needs %s, which was not done", step->needs);
	return true;
}

/*
 * The order to a router whose time is up must not have its effect later, behind that of a later run: the agent is
 * told to end it. True: its end is still awaited.
 */
static bool
ends_late_order(Step *step)
{
	if (!(step->action->traits & ACTION_LEADS_ROUTE) || step->key[0] == '\0' || step->given_up)
		return false;
	if (!step->overdue)
	{
		step->overdue = true;
		job_cancel(run, step);
	}
	return ms_since(step->clock) < step->timeout_ms + LAST_WORD_MS;
}

/* Its job is over without it: the journal was not written in between. */
static void
fail_orphan(Step *step)
{
	step_fail(step, STATE_SYSTEM_ERROR, "the job of step %s is over, and what became of this one is not known",
			  step->leader->name);
	step_ended(step, STEP_FAILED);
}

void
step_move(Step *step)
{
	ActionResult result;

	if (step->leader && step->leader != step)
	{							/* its leader moves it */
		if (step->leader->state > STEP_RUNNING)
			fail_orphan(step);
		return;
	}
	if (step->state == STEP_PENDING && lacks_what_it_needs(step))
		return;
	if (step->state == STEP_PENDING)
	{
		step_begin(step);
		result = order(step);
	}
	else if (step->retry_at != 0)
	{
		if (now_us() < step->retry_at)
			return;
		step->retry_at = 0;
		step->attempt++;
		step->round++;
		result = order(step);
	}
	else
		result = advance(step);

	if (result == ACTION_DONE)
		step_ended(step, step->undone ? STEP_UNDONE : STEP_SUCCEEDED);
	else if (result == ACTION_FAILED)
		step_failed(step);
	else if (time_is_up(step) && !ends_late_order(step))
	{
		if (step->message[0] == '\0')
			strlcpy(step->message, "it took too long", sizeof(step->message));
		if (step->failure.sqlstate[0] == '\0')
			failure_set(&step->failure, STATE_CANCELED, step->message);
		step->on_failure = step->on_failure == FAIL_RETRY ? FAIL_CONTINUE : step->on_failure;
		step_ended(step, STEP_FAILED);
	}
}
