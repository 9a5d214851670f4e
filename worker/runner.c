/*
 * runner.c - executes a run: the driver of the phases.
 *
 * This file promises three things.
 * - A run that fails before the promotion is ordered undoes its steps.
 * - When the order may be out, only the target's agent, or the target itself, says whether there is something to
 *   undo.
 * - After the promotion the run only goes forward. What does not succeed in its time leaves the run stuck, with a
 *   sentence that tells the operator what to do.
 *
 * There is at most one run in the worker, in the variable `run`, and it is in one phase. Each phase is a file of
 * phase/ that tells facts (look) and works (work). The table of transition.c says for each set of facts whether the
 * run stays in its phase or which phase is next. advance() makes one such round. change_phase() is the only place
 * that changes the phase, except that an error before the run is stored ends it as refused. Nothing here waits: each
 * function gives the time until it wants to be called again.
 *
 * If the worker dies, the run is in the journal (journal.c) and, after the seal, in the seal file. The next worker,
 * here or on the promoted target, begins with the phase "recovering", which finds the run there.
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "utils/memutils.h"

#include "common/sqlstate.h"
#include "worker/agents.h"
#include "worker/clock.h"
#include "worker/finish.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/runner.h"
#include "worker/settings.h"
#include "worker/step.h"

#define OWN_PATIENCE_US	(10 * 1000 * 1000)
#define RECOVER_US		(1000 * 1000)
#define RECOVER_TRIES	10

static int	recover_tries;
static int64 recover_at;		/* now_us() */

void
runner_startup(void)
{
	run_context = AllocSetContextCreate(TopMemoryContext, "pg_pingpong run", ALLOCSET_DEFAULT_SIZES);
}

bool
runner_busy(void)
{
	return run != NULL;
}

/*
 * Whether a caller that asks now shall wait a moment and not be refused: what goes on is the worker's own
 * small work.
 */
bool
runner_gives_way(void)
{
	return run != NULL && run->own && now_us() - run->own_since < OWN_PATIENCE_US;
}

/* ---- phases ---- */

static const Phase *const phases[RUN_ENDS] = {
	[RUN_GATHERING] = &phase_gather,
	[RUN_RECOVERING] = &phase_recover,
	[RUN_TAKING_OVER] = &phase_take_over,
	[RUN_FORWARD] = &phase_forward,
	[RUN_HANDING_OVER] = &phase_hand_over,
	[RUN_ASKING] = &phase_ask,
	[RUN_UNDOING] = &phase_undo,
	[RUN_AWAY] = &phase_away,
};

/* A run begins with its facts. */
static void
gather(void)
{
	run->phase = RUN_GATHERING;
	phase_gather.enter(NULL);
}

/* The only place that changes the phase of a run. An error in here leaves it as it was. */
static void
change_phase(const Rule *rule)
{
	if (phases[run->phase]->leave)
		phases[run->phase]->leave(rule);
	if (rule->next >= RUN_ENDS)
	{
		finish(rule->next);
		return;
	}
	ereport(LOG, (errmsg("run " INT64_FORMAT " is %s: %s", run->id, transition_phase_name(rule->next), rule->why)));
	run->phase = rule->next;
	if (phases[run->phase]->enter)
		phases[run->phase]->enter(rule);
}

/* One look, and what follows from it; gives the longest nap in ms. */
static long
advance(void)
{
	const Phase *phase = phases[run->phase];
	const Rule *rule = transition(run->phase, phase->look());

	if (rule->next == run->phase)
		return phase->work(rule->work);
	change_phase(rule);
	return 0;
}

/* ---- requests ---- */

/* A backend asks for something; nothing else is being done. */
void
runner_request(RequestKind kind, const char *target, const char *options, const char *requested_by)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);
	json_error_t err;

	run_new();
	run->request = kind;
	run->options = json_loads(options, 0, &err);
	strlcpy(run->source, worker_self(), sizeof(run->source));
	strlcpy(run->target, target, sizeof(run->target));
	strlcpy(run->requested_by, requested_by, sizeof(run->requested_by));
	strlcpy(run->runbook, run_option_text(run, "runbook", "switchover"), sizeof(run->runbook));
	/* that of a failover has its own words, and was checked with them */
	if (json_object_get(run->options, "risk") && kind != REQUEST_FAILOVER && !mailbox_of_superuser())
	{
		failure_set(&run->failure, STATE_INSUFFICIENT_PRIVILEGE, "must be superuser to take a risk");
		finish(RUN_REFUSED);
		MemoryContextSwitchTo(old);
		return;
	}
	journal_load_topology(run);
	gather();
	MemoryContextSwitchTo(old);
}

/* A run that no session has asked for: the worker's own, on this server. */
void
runner_start_own(const char *runbook, bool asks)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);

	run_new();
	run->request = REQUEST_RUN;
	run->answered = true;
	run->own = true;
	run->asks_none = !asks;
	run->own_since = now_us();
	run->options = json_pack("{s:s}", "runbook", runbook);
	strlcpy(run->source, worker_self(), sizeof(run->source));
	strlcpy(run->target, worker_self(), sizeof(run->target));
	strlcpy(run->requested_by, WORKER_ROLE, sizeof(run->requested_by));
	strlcpy(run->runbook, runbook, sizeof(run->runbook));
	journal_load_topology(run);
	gather();
	MemoryContextSwitchTo(old);
}

/* A backend asks for something while a run that we took over is not at its end. */
void
runner_reject(void)
{
	Outcome		none;
	Failure		v;
	Step	   *step = NULL;

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_RUNNING)
			step = &run->steps[i];
	memset(&none, 0, sizeof(none));
	failure_set(&v, STATE_OBJECT_IN_USE, "a run is in progress");
	snprintf(v.detail, sizeof(v.detail), "Run " INT64_FORMAT " (%s to \"%s\") is at step %s of \"%s\".", run->id,
			 run->runbook, run->target, step ? step->name : "none", step ? step->node : "");
	strlcpy(v.hint, "See pingpong.progress, and try again when it has ended.", sizeof(v.hint));
	mailbox_answer(&none, &v, true);
}

/* Moves the run as far as it goes without waiting; gives the longest nap in ms. */
long
runner_advance(void)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);
	long		nap = 0;

	for (int i = 0; run != NULL && nap == 0 && i < 20; i++)
	{
		nap = advance();
		agents_advance();
	}
	MemoryContextSwitchTo(old);
	return nap;
}

/* A backend has asked for what can only be done on the other kind of server: it was promoted meanwhile, say. */
void
runner_refuse(const char *why)
{
	Outcome		none;
	Failure		v;

	memset(&none, 0, sizeof(none));
	failure_set(&v, STATE_NOT_IN_PREREQUISITE_STATE, why);
	mailbox_answer(&none, &v, true);
}

/* ---- what a predecessor left ---- */

/*
 * At the start of the worker, when this server has just been promoted, and when its seal was removed. False: look
 * again, what raised an error here before may not do so for ever.
 */
bool
runner_recover(void)
{
	MemoryContext old;

	if (run != NULL)
		return true;			/* it was found, and raised an error after that */
	if (now_us() < recover_at)
		return false;
	old = MemoryContextSwitchTo(run_context);
	run_new();
	run->phase = RUN_RECOVERING;
	run->answered = true;
	advance();
	MemoryContextSwitchTo(old);
	recover_tries = 0;
	return true;
}

/*
 * Tried again after a pause. A run that cannot be recovered must not stay "running" for ever, but where it is sealed.
 */
static void
recover_failed(const ErrorData *error)
{
	recover_at = now_us() + RECOVER_US;
	if (++recover_tries >= RECOVER_TRIES)
		finish_give_up(error);
	run_forget();
}

/* ---- errors ---- */

/* Nothing was begun; what was stored must not stay. */
static void
gather_failed(const ErrorData *error)
{
	failure_set(&run->failure, unpack_sql_state(error->sqlerrcode), error->message);
	if (error->detail)
		strlcpy(run->failure.detail, error->detail, sizeof(run->failure.detail));
	finish_give_up(error);
	finish(RUN_REFUSED);
}

/*
 * An action or the journal raised an error: the steps that were being worked
 * on have failed. What could not be stored is derived again after a restart of
 * the worker, so repeated errors simply end it.
 */
void
runner_error(const ErrorData *error)
{
	if (run == NULL)
		return;
	run->collected = NULL;		/* the list of a job that was being put together */
	if (run->phase == RUN_RECOVERING)
	{
		recover_failed(error);
		return;
	}
	if (run->phase == RUN_GATHERING)
	{
		gather_failed(error);
		return;
	}
	if (++run->errors > 5)
		proc_exit(1);
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_RUNNING)
		{
			step_fail(&run->steps[i], unpack_sql_state(error->sqlerrcode), "%s", error->message);
			step_failed(&run->steps[i]);
		}
}
