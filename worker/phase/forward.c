/*
 * forward.c - a run goes forward, group by group (steps of equal ordinal at the same time).
 */
#include "postgres.h"

#include "gate/gate.h"
#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/finish.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/phase/ask.h"
#include "worker/phase/forward.h"
#include "worker/phase/handover.h"
#include "worker/phase/undo.h"
#include "worker/settings.h"
#include "worker/step.h"

#define UNHEARD_US		(2 * 1000 * 1000)

/* The smallest ordinal of this worker's that is not done; INT_MAX: none is left. */
static int
next_ordinal(void)
{
	int			next = INT_MAX;

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state <= STEP_RUNNING)
			next = Min(next, run->steps[i].ordinal);
	return next;
}

/* It has changed, or may have, what no undo puts back: a route beside others, a node that it has begun to rewind. */
static bool
is_lasting(const Step *step)
{
	if (step_concerns_standby(step))
		return step->sent && !step->untouched;
	return strcmp(step->name, "repoint") == 0;
}

/* The first that failed and whose failure makes the run undo what it has done. */
static Step *
failed_to_undo(void)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->state == STEP_FAILED && step->on_failure == FAIL_UNDO && !is_lasting(step))
			return step;
	}
	return NULL;
}

/* The first that failed, or failed with what stays; an operator has to mend that. */
static Step *
failed_step(bool lasting)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_FAILED && (!lasting || is_lasting(&run->steps[i])))
			return &run->steps[i];
	return NULL;
}

/* The developer's pause (GUC): lets tests stop a run behind a step. */
static bool
is_paused_after(const char *action)
{
	return worker_pause_after[0] && strcmp(worker_pause_after, action) == 0;
}

static bool
paused(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_SUCCEEDED && is_paused_after(run->steps[i].name))
			return true;
	return false;
}

/* A step that the clients wait for, and whose success lets them go on. */
static bool
leads_clients(const Step *step)
{
	RunRoute   *route = strcmp(step->name, "repoint") == 0 ? run_route(run, step->node) : NULL;

	return strcmp(step->name, "promote") == 0 || (route && strcmp(route->kind, "rw") == 0);
}

/* The end of the last of them, in ms of the blackout's clock: what the report's lines add up to. */
static double
last_end_ms(void)
{
	double		last = 0;

	for (int i = 0; i < run->nsteps; i++)
	{
		instr_time	offset = run->steps[i].clock;

		if (!leads_clients(&run->steps[i]) || !run->steps[i].mine)
			continue;
		INSTR_TIME_SUBTRACT(offset, run->blackout_began);
		last = Max(last, INSTR_TIME_GET_MILLISEC(offset) + run->steps[i].ms);
	}
	return last;
}

/* All RW routes lead to the target: writes flow, the caller has his answer. */
static void
note_switched(void)
{
	if (run->switched || !run->moves)
		return;
	for (int i = 0; i < run->nsteps; i++)
	{
		if (leads_clients(&run->steps[i]) && run->steps[i].state != STEP_SUCCEEDED)
			return;
	}
	if (run->blackout && run->blackout_ms < 0)
		run->blackout_ms = run->elapsed_ms + last_end_ms();
	run->switched = true;
	mailbox_event("writes flow on \"%s\", blackout %.1f ms", run->target, run->blackout_ms);
}

static void
all_done(void)
{
	Step	   *failed;

	if (run->moves && !run->is_target)
	{
		handover_leave();
		return;
	}
	if (run->is_target && !handover_fetch())
		return;
	note_switched();			/* by the old primary's routes */
	for (int i = 0; i < run->nsteps; i++)
		if (!run->steps[i].mine && run->steps[i].state == STEP_PENDING)
			run->steps[i].state = STEP_SKIPPED;	/* the old primary's, behind its last word */
	failed = finish_find_stuck();
	if (failed)
	{
		finish_stuck(failed);
		return;
	}
	failed = failed_step(false);
	snprintf(run->sentence, sizeof(run->sentence), failed ? "done, but step %s of \"%s\" failed: %s" : "done",
			 failed ? failed->name : "", failed ? failed->node : "", failed ? failed->message : "");
	finish_run("succeeded");
}

/* By the one who waits for it, or by pingpong.cancel(). */
static bool
cancelled(void)
{
	return run_cancelled_by_caller() || mailbox_cancel_wanted(run->id);
}

/* Gives up all that runs; true while something of it does. */
static bool
give_up_jobs(void)
{
	bool		running = false;

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_RUNNING)
		{
			step_give_up(&run->steps[i]);
			running |= run->steps[i].state == STEP_RUNNING;
		}
	return running;
}

/* Given up where something of it cannot be undone: what was not begun is left out, and the run ends stuck. */
static bool
ends_here(void)
{
	if (failed_step(true) == NULL)
		return false;
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_PENDING)
			run->steps[i].state = STEP_SKIPPED;
	return true;
}

/* Behind the point of no return nothing is undone, whatever a runbook says. */
static bool
has_moved(void)
{
	Step	   *promote = run_promote_step(run);

	return run->is_target || (promote && promote->state == STEP_SUCCEEDED);
}

/* Before the order: the caller's wish, the end of the permitted blackout, a failed step. */
static bool
must_undo(void)
{
	Step	   *failed = failed_to_undo();
	int			limit = run_option_int(run, "max_blackout_ms", 10000);

	if (has_moved())
		return false;
	if (failed)
	{
		snprintf(run->sentence, sizeof(run->sentence), "step %s of \"%s\" failed: %s", failed->name, failed->node, failed->message);
		finish_blame(failed);
		return true;
	}
	if (run->ordered)
		return false;
	if (cancelled() && !run->moves && (give_up_jobs() || ends_here()))
		return false;			/* the agents are told; their jobs' ends are waited for */
	if (cancelled())
	{
		strlcpy(run->sentence, run_cancelled_by_caller() ? "cancelled by the caller" : "cancelled by pingpong.cancel()", sizeof(run->sentence));
		failure_set(&run->failure, "57014", "the run was cancelled and rolled back");
		return true;
	}
	if (run->blackout && run_blackout_so_far(run) > limit)
	{
		Step	   *slow = NULL;

		for (int i = 0; i < run->nsteps; i++)
			if (run->steps[i].mine && run->steps[i].state == STEP_RUNNING)
				slow = &run->steps[i];
		snprintf(run->sentence, sizeof(run->sentence), "the permitted blackout of %d ms was over while step %s was running%s%s",
				 limit, slow ? slow->name : "none", slow && slow->message[0] ? ": " : "", slow ? slow->message : "");
		failure_set(&run->failure, "57014", run->sentence);
		return true;
	}
	return false;
}

/*
 * The order to promote has no answer, the permitted blackout is over or the
 * agent is not to be heard: ask for the order to be taken back.
 */
static bool
order_overdue(void)
{
	Step	   *promote = run_promote_step(run);

	if (!run->ordered || run->is_target || promote == NULL || promote->state != STEP_RUNNING)
		return false;
	return run_blackout_so_far(run) > run_option_int(run, "max_blackout_ms", 10000) ||
		(promote->unheard != 0 && now_us() - promote->unheard > UNHEARD_US);
}

long
forward_advance(void)
{
	bool		changed = false;
	int			ordinal = next_ordinal();

	note_switched();			/* by what a predecessor did, perhaps */
	if (ask_overruled())
	{
		undo_start();
		return 0;
	}
	if (order_overdue())
		return ask_begin();
	if (must_undo())
	{
		if (run->ordered)
			return ask_begin();
		undo_start();
		return 0;
	}
	if (paused() && ordinal != INT_MAX)
		return 1;
	if (ordinal == INT_MAX)
	{
		all_done();
		return run ? 5 : 0;
	}
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (!step->mine || step->ordinal != ordinal || step->state > STEP_RUNNING)
			continue;
		step_move(step);
		changed |= step->state > STEP_RUNNING;
	}
	if (run->is_target && mailbox_cancel_wanted(run->id))
		give_up_jobs();			/* what is done stays done; the run ends stuck, and says with what */
	if (run->ordered && !run->switched && !run->is_target && cancelled() && !run->told_waiting)
	{
		mailbox_event("too late to cancel: promote was ordered, the run goes on");
		run->told_waiting = true;
	}
	note_switched();
	run_publish();
	if (changed && (run->is_target || (!run->blackout && !run->switched)))
		journal_save_steps(run);
	if (changed && run->is_target && run->switched)
		journal_save_run(run);
	return changed ? 0 : run->blackout && !run->switched ? 1 : 5;
}
