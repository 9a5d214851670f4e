/*
 * undo.c - the way back of a run: each step's undo, the gate first.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "worker/action/table.h"
#include "worker/blackout.h"
#include "worker/finish.h"
#include "worker/mailbox.h"
#include "worker/phase/undo.h"
#include "worker/step.h"

#define UNDO_MS			10000

static void
add_undo(Step *step)
{
	Step	   *undo = &run->undo[run->nundo++];

	memset(undo, 0, sizeof(*undo));
	*undo = *step;
	undo->call = NULL;
	undo->post_at = 0;
	undo->attempt = 0;
	undo->phase = 0;
	undo->unheard = 0;
	undo->given_up = false;
	undo->message[0] = '\0';
	strlcpy(undo->name, step->undo, sizeof(undo->name));
	undo->action = action_find(step->undo);
	undo->state = undo->action ? STEP_PENDING : STEP_SKIPPED;
	undo->on_failure = FAIL_RETRY;
	/* a gate that stays closed must not end the run: the caller would be told that writes go on */
	undo->timeout_ms = strcmp(undo->name, "unseal") == 0 || strcmp(undo->name, "open") == 0 ? INT_MAX : UNDO_MS;
}

/*
 * The gate first, and at once: whoever is held goes on. The rest goes out
 * together; the run has ended when all of it is done or its time is up.
 */
void
undo_start(void)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);

	run->phase = RUN_UNDOING;
	run->undo = palloc0(Max(run->nsteps, 1) * sizeof(Step));
	INSTR_TIME_SET_CURRENT(run->undo_began);
	for (int i = run->nsteps - 1; i >= 0; i--)
		if (run->steps[i].undo[0] && run->steps[i].state != STEP_PENDING && run->steps[i].state != STEP_SKIPPED)
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
	MemoryContextSwitchTo(old);
}

static void
mark_undone(void)
{
	for (int u = 0; u < run->nundo; u++)
		for (int i = 0; i < run->nsteps; i++)
			if (run->steps[i].ordinal == run->undo[u].ordinal && strcmp(run->steps[i].undo, run->undo[u].name) == 0 &&
				strcmp(run->steps[i].node, run->undo[u].node) == 0 && run->undo[u].state == STEP_SUCCEEDED)
				run->steps[i].state = STEP_UNDONE;
}

/* The undo of arm is a question, too: a target that was promoted cannot be taken back. */
static bool
was_promoted(void)
{
	bool		promoted = false;

	for (int i = 0; i < run->nundo && !promoted; i++)
	{
		json_t	   *detail = strcmp(run->undo[i].name, "burn") == 0 ? step_detail(&run->undo[i]) : NULL;

		promoted = strcmp(json_text(detail, "verdict"), "promoted") == 0;
		json_decref(detail);
	}
	return promoted;
}

long
undo_advance(void)
{
	bool		waiting = false;
	size_t		used = strlen(run->sentence);

	for (int i = 0; i < run->nundo; i++)
	{
		if (run->undo[i].state <= STEP_RUNNING)
			step_move(&run->undo[i]);
		waiting |= run->undo[i].state <= STEP_RUNNING;
	}
	run_publish();
	if (waiting)
		return 2;
	mark_undone();
	for (int i = 0; i < run->nundo && run->errors == 0; i++)	/* not again when the row could not be written */
		if (run->undo[i].state == STEP_FAILED)
			used += snprintf(run->sentence + Min(used, sizeof(run->sentence) - 1), sizeof(run->sentence) - Min(used, sizeof(run->sentence) - 1),
							 "; the undo %s of \"%s\" failed: %s", run->undo[i].name, run->undo[i].node, run->undo[i].message);
	if (was_promoted())
		finish_opened_behind();
	else
		finish_run("rolled_back");
	return 0;
}
