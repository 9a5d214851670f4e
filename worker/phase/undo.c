/*
 * undo.c - the phase "undoing": does the undo of each step that was begun, the gate first, so that held statements go
 * on.
 */
#include "postgres.h"

#include "worker/action/table.h"
#include "worker/blackout.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/step.h"

#define UNDO_MS			10000

static bool
is_added(const Step *step)
{
	for (int i = 0; i < run->nundo; i++)
		if (step_is_undone_by(step, &run->undo[i]))
			return true;
	return false;
}

static void
add_undo(Step *step)
{
	Step	   *undo = &run->undo[run->nundo++];

	memset(undo, 0, sizeof(*undo));
	*undo = *step;
	undo->call = NULL;
	undo->post_at = 0;
	undo->attempt = 0;
	undo->round = 0;
	undo->phase = 0;
	undo->mark = MARK_NONE;		/* what the step means for the run its undo does not */
	undo->unheard = 0;
	undo->given_up = false;
	undo->leader = NULL;
	undo->undone = false;
	undo->message[0] = '\0';
	strlcpy(undo->name, step->undo, sizeof(undo->name));
	undo->action = action_find(step->undo);
	undo->state = undo->action ? STEP_PENDING : STEP_SKIPPED;
	undo->on_failure = FAIL_RETRY;
	/* a gate that stays closed must not end the run: the caller would be told that writes go on */
	undo->timeout_ms = undo->action && (undo->action->traits & ACTION_UNTIL_DONE) ? INT_MAX : UNDO_MS;
}

/* After a restart, or a lost answer, it is not known what was begun: all that has an undo is undone. */
static void
doubt_all(void)
{
	Step	   *promote = run_promote_step(run);

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_PENDING && (promote == NULL || run->steps[i].ordinal < promote->ordinal) &&
			run->steps[i].undo[0])
			run->steps[i].state = STEP_FAILED;
}

/*
 * The gate first, and at once, so that held statements go on. The rest is sent
 * together; the run has ended when all of it is done or its time is up.
 */
static void
enter(const Rule *rule)
{
	if (rule->phase != RUN_FORWARD)
		doubt_all();
	run->undo = palloc0(Max(run->nsteps, 1) * sizeof(Step));
	INSTR_TIME_SET_CURRENT(run->undo_began);
	for (int i = run->nsteps - 1; i >= 0; i--)
		if (run->steps[i].undo[0] && run->steps[i].state != STEP_PENDING && run->steps[i].state != STEP_SKIPPED &&
			run->steps[i].state != STEP_UNDONE && !is_added(&run->steps[i]))
			add_undo(&run->steps[i]);
	for (int i = 0; i < run->nundo; i++)
		if (run->undo[i].action && run->undo[i].action->advance == NULL)
			step_move(&run->undo[i]);
	if (run->blackout)
	{
		run->blackout_ms = run_blackout_so_far(run);
		run->blackout = false;
	}
	mailbox_event("rolling back: %s", run->sentence);
}

static void
mark_undone(void)
{
	for (int u = 0; u < run->nundo; u++)
		for (int i = 0; i < run->nsteps; i++)
			if (run->undo[u].state == STEP_SUCCEEDED && run->steps[i].state != STEP_PENDING &&
				run->steps[i].state != STEP_SKIPPED && step_is_undone_by(&run->steps[i], &run->undo[u]))
				run->steps[i].state = STEP_UNDONE;
}

/* An undo may be a question, too: the promotion of a target cannot be undone. */
static bool
was_promoted(void)
{
	bool		promoted = false;

	for (int i = 0; i < run->nundo && !promoted; i++)
	{
		json_t	   *detail = run->undo[i].state == STEP_SUCCEEDED ? step_detail(&run->undo[i]) : NULL;

		promoted = strcmp(protocol_text(detail, "verdict"), VERDICT_PROMOTED) == 0;
		json_decref(detail);
	}
	return promoted;
}

static bool
is_waiting(void)
{
	for (int i = 0; i < run->nundo; i++)
		if (run->undo[i].state <= STEP_RUNNING)
			return true;
	return false;
}

static uint32
look(void)
{
	return (is_waiting() ? FACT_WAITING : 0) | (was_promoted() ? FACT_OPENED : 0);
}

static long
work(RunWork what)
{
	for (int i = 0; i < run->nundo; i++)
		if (run->undo[i].state <= STEP_RUNNING)
			step_move(&run->undo[i]);
	run_publish();
	return is_waiting() ? 2 : 0;
}

static void
leave(const Rule *rule)
{
	size_t		used = strlen(run->sentence);

	mark_undone();
	for (int i = 0; i < run->nundo && run->errors == 0; i++)	/* not again when the row could not be written */
		if (run->undo[i].state == STEP_FAILED)
			used += snprintf(run->sentence + Min(used, sizeof(run->sentence) - 1),
							 sizeof(run->sentence) - Min(used, sizeof(run->sentence) - 1),
							 "; the undo %s of \"%s\" failed: %s",
							 run->undo[i].name, run->undo[i].node, run->undo[i].message);
	if (rule->reason == REASON_OPENED)
		run_note_opened();
}

const Phase phase_undo = {enter, look, work, leave};
