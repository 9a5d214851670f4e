/*
 * forward.c - the phase "going forward": does the steps, group by group. Steps of equal ordinal are a group and run
 * at the same time.
 *
 * Here the worker finds out what the table of transition.c has to know: which steps are left, which failed and what
 * their failure means (undo it, go on, or leave something broken that an operator has to fix), whether the permitted
 * blackout is over, and whether the order to promote is out and has no answer. At the end of the phase it writes the
 * sentence of the run.
 */
#include "postgres.h"

#include "common/sqlstate.h"
#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/settings.h"
#include "worker/step.h"

#define UNHEARD_US		(2 * 1000 * 1000)
#define PENDING_MS		3000	/* an endpoint that does not follow is left behind, if another one serves its route */

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

/* It has changed, or may have, what no undo restores: one route of several, a node that it has begun to rewind. */
static bool
is_lasting(const Step *step)
{
	if (step->fix[0] == '\0')
		return false;
	return step->state == STEP_SUCCEEDED || !(step->action->traits & ACTION_MAKES_STANDBY) ||
		(step->sent && !step->untouched);
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

/* The first that has changed, or may have, what no undo restores. */
static Step *
find_lasting(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if ((run->steps[i].state == STEP_FAILED || run->steps[i].state == STEP_SUCCEEDED) &&
			is_lasting(&run->steps[i]))
			return &run->steps[i];
	return NULL;
}

/* The developer's pause (GUC): lets tests stop a run after a step. */
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
frees_clients(const Step *step)
{
	return step->mark == MARK_NO_RETURN || step->mark == MARK_ENDS_BLACKOUT;
}

/* Another endpoint of the same route leads to where it should, or, not `serving`, has only let go of it. */
static bool
some_endpoint(const Step *step, bool serving)
{
	RunRoute   *route = run_route(run, step->node);

	for (int e = 0; route && e < run->nroutes; e++)
		for (int i = 0; strcmp(run->routes[e].route, route->route) == 0 && i < run->nsteps; i++)
			if ((run->steps[i].action->traits & ACTION_LEADS_ROUTE) && run->steps[i].state == STEP_SUCCEEDED &&
				run->steps[i].ordinal == step->ordinal && strcmp(run->steps[i].node, run->routes[e].name) == 0 &&
				(step_said(&run->steps[i], "serves") != SAID_NO) == serving)
				return true;
	return false;
}

static bool
is_served(const Step *step)
{
	return some_endpoint(step, true);
}

/* A silent one is not, unless it is the only one that could serve clients that the others have let go. */
static bool
is_waited_for(const Step *step)
{
	if (!frees_clients(step) || step->state == STEP_SUCCEEDED || step->pending)
		return false;
	return !step->silent || (some_endpoint(step, false) && !is_served(step));
}

/*
 * An endpoint that does not follow (its router hangs, or its agent is dead) keeps nobody else waiting. The gate of
 * the old primary protects the data from its clients, and the reconciliation points it when it is back (reconcile.c).
 */
static bool
leave_pending(void)
{
	bool		changed = false;

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->mine && step->state == STEP_RUNNING && step->mark == MARK_ENDS_BLACKOUT &&
			ms_since(step->clock) > PENDING_MS && is_served(step))
		{
			step_leave_pending(step);
			changed = true;
		}
	}
	return changed;
}

/* The end of the last of them, in ms of the blackout's clock: what the report's lines add up to. */
static double
last_end_ms(void)
{
	double		last = 0;

	for (int i = 0; i < run->nsteps; i++)
	{
		instr_time	offset = run->steps[i].clock;

		if (!frees_clients(&run->steps[i]) || !run->steps[i].mine || run->steps[i].pending)
			continue;
		INSTR_TIME_SUBTRACT(offset, run->blackout_began);
		last = Max(last, INSTR_TIME_GET_MILLISEC(offset) + run->steps[i].ms);
	}
	return last;
}

/*
 * The longest time that a router of an RW route held its clients, by its own clock: without the ways of the order and
 * of the answer. Negative: not all of them held their clients and told when.
 */
static double
held_by_routers_ms(void)
{
	double		longest = -1;

	for (int i = 0; i < run->nroutes; i++)
	{
		RunRoute   *route = &run->routes[i];

		if (strcmp(route->kind, "rw") != 0)
			continue;
		if (route->held_ms <= 0 || route->resumed_ms <= route->held_ms)
			return -1;
		longest = Max(longest, route->resumed_ms - route->held_ms);
	}
	return longest;
}

/* Both are upper bounds of the time without writes. */
static double
measured_ms(void)
{
	double		here = last_end_ms();
	double		there = held_by_routers_ms();

	return run->elapsed_ms + (there >= 0 ? Min(here, there) : here);
}

/* All RW routes point to the target: clients can write, and the caller gets the answer. */
static void
note_switched(void)
{
	if (run->switched || !run->moves)
		return;
	for (int i = 0; i < run->nsteps; i++)
		if (is_waited_for(&run->steps[i]))
			return;
	if (run->blackout && run->blackout_ms < 0)
		run->blackout_ms = measured_ms();
	run->switched = true;
	mailbox_event("writes flow on \"%s\", blackout %.1f ms", run->target, run->blackout_ms);
}

/* Gives up all that runs. */
static void
give_up_jobs(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_RUNNING)
			step_give_up(&run->steps[i]);
}

/* What was not begun is left out. */
static void
skip_rest(const char *why, bool mine)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_PENDING && (mine || !run->steps[i].mine))
		{
			run->steps[i].state = STEP_SKIPPED;
			strlcpy(run->steps[i].message, why, sizeof(run->steps[i].message));
		}
}

/* The run ends with this step: its caller is told in the step's words. */
static void
blame(Step *failed)
{
	run->failure = failed->failure;
	if (run->failure.sqlstate[0] == '\0')
		failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, failed->message[0] ? failed->message :
					"a step failed");
}

/* It will be pointed by itself when it is back. */
static bool
will_be_repaired(const Step *step)
{
	RunRoute   *route = run_route(run, step->node);

	return step->pending && route && route->repairs && worker_route_interval > 0;
}

/* A failure that an operator has to fix: clients are not served, or a node is no standby. NULL: there is none. */
static Step *
find_broken(void)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->state == STEP_FAILED && step->fix[0] && !will_be_repaired(step))
			return step;
	}
	return NULL;
}

/* ---- looking ---- */

/*
 * The order to promote has no answer, the permitted blackout is over or the
 * agent does not answer: the order has to be revoked.
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

/* After the point of no return nothing is undone, whatever a runbook says. */
static bool
has_moved(void)
{
	Step	   *promote = run_promote_step(run);

	return run->is_target || (promote && promote->state == STEP_SUCCEEDED);
}

static bool
is_running(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_RUNNING)
			return true;
	return false;
}

static bool
is_away(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (step_is_away(&run->steps[i]))
			return true;
	return false;
}

static bool
is_late(void)
{
	return run->blackout && run_blackout_so_far(run) > run_option_int(run, "max_blackout_ms", 10000);
}

static uint32
look(void)
{
	/* what is left of an upgrade opens the gate: nobody may leave that out */
	bool		forward_only = run_find_step(run, ACTION_FORWARD_ONLY, NULL, STEP_SUCCEEDED) != NULL;

	note_switched();			/* by what a predecessor did, or by the old primary's routes, perhaps */
	return (run_facts() & (forward_only ? ~FACT_CANCELLED : ~0)) |
		(order_overdue() ? FACT_UNANSWERED : 0) | (has_moved() ? FACT_MOVED : 0) |
		(is_late() ? FACT_LATE : 0) | (failed_to_undo() ? FACT_FAILED : 0) | (find_lasting() ? FACT_LASTING : 0) |
		(find_broken() ? FACT_BROKEN : 0) | (next_ordinal() != INT_MAX ? FACT_LEFT : 0) |
		(is_running() ? FACT_RUNNING : 0) | (is_away() ? FACT_AWAY : 0) |
		(run->is_target && !run->noted ? FACT_WAITING : 0);
}

/* ---- working ---- */

/* Steps of the same ordinal at the same time. True: one has ended. */
static bool
move_group(void)
{
	int			ordinal = next_ordinal();
	bool		changed = false;

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (!step->mine || step->ordinal != ordinal || step->state > STEP_RUNNING)
			continue;
		step_move(step);
		changed |= step->state > STEP_RUNNING;
	}
	return changed;
}

/*
 * The journal is written between groups, but not while writes are stopped:
 * after a crash in the blackout the seal file and the target's token tell
 * more than a row could.
 */
static long
move_steps(bool give_up)
{
	bool		changed;

	if (give_up)
		give_up_jobs();
	if (paused())
		return 1;
	changed = move_group();
	changed |= leave_pending();
	if (run->ordered && !run->switched && !run->is_target && run_cancelled() && !run->told_waiting)
	{
		mailbox_event("too late to cancel: promote was ordered, the run goes on");
		run->told_waiting = true;
	}
	note_switched();
	run_publish();
	if (changed && run_may_journal())
		journal_save_steps(run);
	if (changed && run->is_target && run->switched)
		journal_save_run(run);
	return changed ? 0 : run->blackout && !run->switched ? 1 : 5;
}

static long
work(RunWork what)
{
	switch (what)
	{
		case WORK_FETCH:
			return blackout_fetch() ? 0 : 5;
		case WORK_SKIP:
			skip_rest("cancelled", true);
			return 0;
		default:
			return move_steps(what == WORK_GIVE_UP);
	}
}

/* ---- leaving ---- */

static void
say_failed(void)
{
	Step	   *failed = failed_to_undo();

	snprintf(run->sentence, sizeof(run->sentence), "step %s of \"%s\" failed: %s", failed->name, failed->node,
			 failed->message);
	blame(failed);
}

static void
say_cancelled(void)
{
	strlcpy(run->sentence, run_cancelled_by_caller() ? "cancelled by the caller" : "cancelled by pingpong.cancel()",
			sizeof(run->sentence));
	failure_set(&run->failure, STATE_CANCELED, "the run was cancelled and rolled back");
}

static void
say_late(void)
{
	Step	   *slow = NULL;

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_RUNNING)
			slow = &run->steps[i];
	snprintf(run->sentence, sizeof(run->sentence),
			 "the permitted blackout of %d ms was over while step %s was running%s%s",
			 run_option_int(run, "max_blackout_ms", 10000), slow ? slow->name : "none",
			 slow && slow->message[0] ? ": " : "", slow ? slow->message : "");
	failure_set(&run->failure, STATE_CANCELED, run->sentence);
}

/* The sentence tells how to fix it. */
static void
say_broken(void)
{
	Step	   *failed = find_broken();
	bool		served = (failed->action->traits & (ACTION_MAKES_STANDBY | ACTION_LEADS_ROUTE)) != 0;

	snprintf(run->sentence, sizeof(run->sentence), "\"%s\" is the primary, but %sstep %s of \"%s\" failed: %s. "
			 "Fix the cause, then run %s on it.", worker_self(), served ? "" : "its clients are not served: ",
			 failed->name, failed->node, failed->message, failed->fix);
	blame(failed);
}

static void
say_done(void)
{
	Step	   *failed = NULL;

	for (int i = 0; i < run->nsteps && failed == NULL; i++)
		if (run->steps[i].state == STEP_FAILED)
			failed = &run->steps[i];
	snprintf(run->sentence, sizeof(run->sentence), failed == NULL ? "done" : failed->pending ?
			 "done, but %s of endpoint \"%s\" is pending, and is done when it is back: %s" :
			 "done, but step %s of \"%s\" failed: %s",
			 failed ? failed->name : "", failed ? failed->node : "", failed ? failed->message : "");
}

static void
leave(const Rule *rule)
{
	switch (rule->reason)
	{
		case REASON_OVERRULED:
			run_note_overruled();
			break;
		case REASON_FAILED:
			say_failed();
			break;
		case REASON_CANCELLED:
			say_cancelled();
			break;
		case REASON_UNANSWERED:
			if (is_late())
				say_late();		/* the reason, should the order turn out to be none */
			break;
		case REASON_LATE:
			say_late();
			break;
		default:
			break;
	}
	if (rule->next == RUN_STUCK || rule->next == RUN_SUCCEEDED)
		skip_rest("", false);	/* the old primary's, after its last entry */
	if (rule->next == RUN_STUCK)
		say_broken();
	if (rule->next == RUN_SUCCEEDED)
		say_done();
}

const Phase phase_forward = {NULL, look, work, leave};
