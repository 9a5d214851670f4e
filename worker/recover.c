/*
 * recover.c - what a predecessor left running: at the start of the worker, when this server has just been promoted,
 * and when its seal was removed.
 *
 * The target asks how it was promoted (phase/takeover.c), a sealed source whether it was (phase/ask.c). What was begun by
 * another primary, or had moved this one away before it took writes again, is not gone on with: an operator must
 * decide.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "gate/gate.h"
#include "worker/clock.h"
#include "worker/finish.h"
#include "worker/journal.h"
#include "worker/phase/ask.h"
#include "worker/recover.h"
#include "worker/runbook.h"
#include "worker/settings.h"
#include "worker/shared.h"

#define RECOVER_US		(1000 * 1000)
#define RECOVER_TRIES	10
static int	recover_tries;

static int64 recover_at;		/* now_us() */

/* What to run for it here, if it is still wanted. */
static void
name_remedy(char *remedy, size_t size)
{
	if (strcmp(run->runbook, "repoint") == 0)
		strlcpy(remedy, "SELECT pingpong.repoint()", size);
	else if (strcmp(run->runbook, "rebuild") == 0)
		snprintf(remedy, size, "SELECT pingpong.rebuild('%s')", run->target);
	else
		strlcpy(remedy, "it again", size);
}

/*
 * Not ours to undo, nor to go on with. What did not move the primary leaves its steps to a later run, which may mend
 * them; what is relaxed the worker of the present primary restores by itself.
 */
static void
disown(void)
{
	bool		restores = strcmp(run->runbook, "restore") == 0;
	char		remedy[128];

	for (int i = 0; i < run->nsteps && !run->moves; i++)
		if (run->steps[i].state <= STEP_RUNNING)
		{
			run->steps[i].state = STEP_FAILED;
			strlcpy(run->steps[i].message, "the primary is another one", sizeof(run->steps[i].message));
		}
	name_remedy(remedy, sizeof(remedy));
	if (run->moves)
		snprintf(run->sentence, sizeof(run->sentence), "This primary calls itself \"%s\", which is neither source nor target of "
				 "the run. Find out which server is the right one, and set pingpong.node_name.", worker_self());
	else if (restores)
		snprintf(run->sentence, sizeof(run->sentence), "It was begun by \"%s\"; this primary, \"%s\", makes a run of its own.",
				 run->source, worker_self());
	else
		snprintf(run->sentence, sizeof(run->sentence), "It was begun by \"%s\"; this primary, \"%s\", does not go on with it. "
				 "If it is still wanted, run %s.", run->source, worker_self(), remedy);
	finish_run(restores ? "rolled_back" : "stuck");
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
		(strcmp(worker_shared->run_state, RUN_HANDED_OVER) == 0 || strcmp(worker_shared->run_state, "stuck") == 0);
	LWLockRelease(worker_shared->lock);
	return known || run->switched || (promote && promote->state == STEP_SUCCEEDED);
}

static void
recover_source(void)
{
	static const char *const sentence = "the server or its worker was restarted before the seal";
	GateSeal	seal;

	if (gate_get_seal(&seal) && strcmp(seal.run, run->key) == 0)
	{
		run->seal_lsn = seal.lsn;
		run->ordered = true;
		run->armed_us = now_us();
		ask_begin();
		return;
	}
	if (had_moved_away())
	{
		finish_opened_behind();
		return;
	}
	strlcpy(run->sentence, sentence, sizeof(run->sentence));
	ask_burned();
	strlcpy(run->sentence, sentence, sizeof(run->sentence));
}

static void
recover(void)
{
	if (!journal_find_unfinished(run))
	{
		run_forget();
		return;
	}
	run->is_target = run->moves && strcmp(run->target, worker_self()) == 0;
	run->answered = true;
	journal_load_topology(run);
	runbook_load(run);
	if (!run->is_target && strcmp(run->source, worker_self()) != 0)
	{
		disown();
		return;
	}
	if (run->is_target)
		run->phase = RUN_TAKING_OVER;
	else if (!run->moves)
		run->phase = RUN_FORWARD;
	else
		recover_source();
	for (int i = 0; run && i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->state == STEP_RUNNING || (run->is_target && step->mine && step->state == STEP_FAILED))
			step->state = run->phase == RUN_UNDOING ? STEP_FAILED : STEP_PENDING;
	}
	if (run)
		run_publish();
}

/*
 * At the start of the worker, when this server has just been promoted, and when its seal was removed: is there a run
 * that is ours to go on with or to undo? False: look again, what raised an error here before may not do so for ever.
 */
bool
recover_look(void)
{
	MemoryContext old;

	if (run != NULL)
		return true;			/* it was found, and raised an error behind that */
	if (now_us() < recover_at)
		return false;
	old = MemoryContextSwitchTo(run_context);
	run_new();
	recover();
	MemoryContextSwitchTo(old);
	recover_tries = 0;
	return true;
}

/* Tried again after a pause. A run that cannot be recovered must not stay "running" for ever, but where it is sealed. */
void
recover_failed(const ErrorData *error)
{
	recover_at = now_us() + RECOVER_US;
	if (++recover_tries >= RECOVER_TRIES)
		finish_give_up(error);
	run_forget();
}
