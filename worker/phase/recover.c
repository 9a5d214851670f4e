/*
 * recover.c - the phase "recovering": is there a run that an earlier worker left? Looked for when the worker starts,
 * when this server was promoted, and when its seal was removed.
 *
 * A target asks how it was promoted (phase/takeover.c). A sealed source asks whether the target was (phase/ask.c).
 * Two runs are not continued, because an operator has to decide: one that another primary began, and one that had
 * moved the primary away from this server before it took writes again.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "common/sqlstate.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "worker/baton.h"
#include "worker/clock.h"
#include "worker/failover.h"
#include "worker/journal.h"
#include "worker/phase/phase.h"
#include "worker/runbook.h"
#include "worker/settings.h"
#include "worker/shared.h"

/* What to run for it here, if it is still wanted. */
static const char *
remedy(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].fix[0])
			return run->steps[i].fix;
	return "it again";
}

/*
 * Not ours to undo, nor to go on with. What did not move the primary leaves its steps to a later run, which may fix
 * them; what is relaxed the worker of the present primary restores by itself.
 */
static void
disown(void)
{
	bool		restores = strcmp(run->requested_by, WORKER_ROLE) == 0;

	for (int i = 0; i < run->nsteps && !run->moves; i++)
		if (run->steps[i].state <= STEP_RUNNING)
		{
			run->steps[i].state = STEP_FAILED;
			strlcpy(run->steps[i].message, "the primary is another one", sizeof(run->steps[i].message));
		}
	if (run->moves)
		snprintf(run->sentence, sizeof(run->sentence),
				 "This primary calls itself \"%s\", which is neither source nor target of "
				 "the run. Find out which server is the right one, and set pingpong.node_name.", worker_self());
	else if (restores)
		snprintf(run->sentence, sizeof(run->sentence),
				 "It was begun by \"%s\"; this primary, \"%s\", makes a run of its own.",
				 run->source, worker_self());
	else
		snprintf(run->sentence, sizeof(run->sentence),
				 "It was begun by \"%s\"; this primary, \"%s\", does not go on with it. "
				 "If it is still wanted, run %s.", run->source, worker_self(), remedy());
}

/*
 * Did the run move the primary away from here before this server was opened again? By the journal (a standby of the
 * target had it, before it was promoted by hand), or by what the worker knew when the run left it.
 */
static bool
had_moved_away(void)
{
	Step	   *promote = run_promote_step(run);
	bool		known;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	known = worker_shared->run == run->id &&
		(strcmp(worker_shared->run_state, STATE_HANDED_OVER) == 0 || strcmp(worker_shared->run_state, "stuck") == 0);
	LWLockRelease(worker_shared->lock);
	return known || run->switched || (promote && promote->state == STEP_SUCCEEDED);
}

/* The last ordinal of a step with the trait; -1: the runbook has none. */
static int
last_with_trait(ActionTrait trait)
{
	int			last = -1;

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].action->traits & trait)
			last = Max(last, run->steps[i].ordinal);
	return last;
}

static void
believe_until(int ordinal)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].ordinal <= ordinal && run->steps[i].state <= STEP_RUNNING)
			run->steps[i].state = STEP_SUCCEEDED;
}

/*
 * A run that stays here and seals this server: its journal ends before the seal, since nothing is written from then
 * on. What the server itself tells counts.
 *
 * Sealed by the run: all up to the seal was done, and the job behind it may have been ordered, so its agent is asked.
 * Not sealed, and of the version that the run makes: the new server was opened. Not sealed otherwise: true, the run
 * has not come so far, or was undone, or somebody has lifted its seal. It is undone: it must not begin again by
 * itself, hours later and without its caller.
 *
 * Nor does one that points routes back: it was right to do so before the restart. A new look makes a new one.
 */
static bool
was_broken_off(void)
{
	GateSeal	seal;
	int			sealing = last_with_trait(ACTION_SEALS);

	if (strcmp(run->runbook, "realign") == 0)
		return true;
	if (run->moves || sealing < 0)
		return false;
	if (run_has_sealed(&seal))
	{
		run->seal_lsn = seal.lsn;
		believe_until(sealing);
		for (int i = 0; i < run->nsteps; i++)
			if (run->steps[i].mark == MARK_AWAY && run->steps[i].state == STEP_PENDING)
				run->steps[i].state = STEP_RUNNING;
		return false;
	}
	if (!run_is_on_new_server(run))
		return true;
	believe_until(last_with_trait(ACTION_OPENS));
	return false;
}

/* A failover that was begun here: before the order to promote was ready to go out, or behind that. */
static uint32
look_on_standby(void)
{
	json_t	   *baton = baton_find(run);

	if (baton == NULL)
		return 0;
	journal_load_topology(run);
	runbook_load(run);
	baton_take_steps(run, baton);
	json_decref(baton);
	return run_facts() | FACT_FOUND;
}

static uint32
look(void)
{
	GateSeal	seal;
	bool		away = false;
	bool		broken_off;

	if (RecoveryInProgress())
		return look_on_standby();
	baton_adopt();
	if (!journal_find_unfinished(run))
		return 0;
	run->is_target = run->moves && strcmp(run->target, worker_self()) == 0;
	journal_load_topology(run);
	runbook_load(run);
	broken_off = was_broken_off();
	for (int i = 0; i < run->nsteps; i++)
		away |= step_is_away(&run->steps[i]);
	return run_facts() | FACT_FOUND | (broken_off ? FACT_BROKEN_OFF : 0) | (away ? FACT_AWAY : 0) |
		(strcmp(run->requested_by, WORKER_ROLE) == 0 ? FACT_OWN : 0) |
		(run_has_sealed(&seal) ? FACT_SEALED : 0) | (had_moved_away() ? FACT_OPENED : 0);
}

/* The run goes on with the question whether the target was promoted, from the seal as it is. */
static void
take_seal(void)
{
	GateSeal	seal;

	if (!run_has_sealed(&seal))
		return;					/* removed in this moment: run_facts() will tell */
	run->seal_lsn = seal.lsn;
	run->ordered = true;
	run->armed_us = now_us();
}

/* Steps that were running are continued or undone. What had failed on the target is tried once more. */
static void
settle_steps(RunPhase next)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];
		bool		again = run->is_target && step->mine && step->state == STEP_FAILED;

		if (again)
			step->round++;
		if (next == RUN_AWAY && step_is_away(step))
			INSTR_TIME_SET_CURRENT(step->clock);	/* asked for, not begun again */
		else if (again || step->state == STEP_RUNNING)
			step->state = next == RUN_UNDOING ? STEP_FAILED : STEP_PENDING;
	}
}

static void
leave(const Rule *rule)
{
	switch (rule->reason)
	{
		case REASON_NO_RUN:
			return;
		case REASON_OTHER_PRIMARY:
			disown();
			return;
		case REASON_SEALED:
			take_seal();
			break;
		case REASON_STANDBY:
			run->armed_us = now_us();
			break;
		case REASON_OPENED:
			run_note_opened();
			break;
		case REASON_RESTARTED:
			run->ordered = false;
			strlcpy(run->sentence, rule->why, sizeof(run->sentence));
			failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, run->sentence);
			break;
		default:
			break;
	}
	settle_steps(rule->next);
	if (run_is_failover(run))
		failover_pass_over(run);	/* again: they were not answered then, and would cost their time now */
	if (rule->next < RUN_ENDS)
		run_publish();
}

const Phase phase_recover = {NULL, look, NULL, leave};
