/*
 * runner.c - the state machine that executes a run.
 *
 * A run goes forward group by group (steps of equal ordinal at the same time).
 * What fails before the point of no return is undone; once promote was
 * ordered, only the target's agent can say whether there is something to undo
 * (RUN_ASKING); behind it everything goes forward, and what does not succeed
 * in its time leaves the run stuck, with a sentence.
 *
 * The journal is written between groups, but not while writes are stopped:
 * after a crash in the blackout the seal file and the target's token tell
 * more than a row could.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "gate/gate.h"
#include "pg_compat.h"
#include "worker/journal.h"
#include "worker/runner.h"

#define UNHEARD_US		(2 * 1000 * 1000)
#define OWN_PATIENCE_US	(10 * 1000 * 1000)

MemoryContext run_context;
Run		   *run;

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
 * Whether who asks for something now shall wait a moment rather than be refused: what goes on is the worker's own
 * small work.
 */
bool
runner_gives_way(void)
{
	return run != NULL && run->own && now_us() - run->own_since < OWN_PATIENCE_US;
}

/* An empty one, in run_context. */
Run *
run_new(void)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);

	run = palloc0(sizeof(Run));
	run->blackout_ms = -1;
	run->notes = json_new();
	run->options = NULL;
	MemoryContextSwitchTo(old);
	return run;
}

/* Lets go of everything; the next request may come. */
void
run_forget(void)
{
	for (int i = 0; i < run->nsteps; i++)
		step_release(&run->steps[i]);
	for (int i = 0; i < run->nundo; i++)
		step_release(&run->undo[i]);
	for (int i = 0; run->calls && i < run->nnodes; i++)
		agents_release(run->calls[i]);
	agents_release(run->ask);
	json_decref(run->options);
	json_decref(run->notes);
	run = NULL;
	MemoryContextReset(run_context);
	mailbox_finish();
}

/* ---- what others see ---- */

void
run_publish(void)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	worker_shared->run = run->id;
	worker_shared->run_ordered = !run->is_target && (run->ordered || run->phase == RUN_ASKING);
	strlcpy(worker_shared->run_state, run->phase == RUN_UNDOING ? "undoing" : run->phase == RUN_ASKING ? "asking" :
			run->state, sizeof(worker_shared->run_state));
	strlcpy(worker_shared->sentence, run->sentence, sizeof(worker_shared->sentence));
	worker_shared->nsteps = run->nsteps;
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];
		StepLine   *line = &worker_shared->steps[i];

		line->ordinal = step->ordinal;
		strlcpy(line->action, step->name, sizeof(line->action));
		strlcpy(line->node, step->subject, sizeof(line->node));
		strlcpy(line->state, step_state_name(step->state), sizeof(line->state));
		line->started = step->started;
		line->ms = step->ms;
		line->attempt = step->attempt;
		strlcpy(line->message, step->message, sizeof(line->message));
	}
	LWLockRelease(worker_shared->lock);
}

void
run_answer(const char *state)
{
	Outcome		outcome;

	if (run->answered)
		return;
	run->answered = true;
	memset(&outcome, 0, sizeof(outcome));
	outcome.run = run->id;
	strlcpy(outcome.state, state, sizeof(outcome.state));
	outcome.blackout_ms = run->blackout_ms;
	outcome.seal_lsn = run->seal_lsn;
	strlcpy(outcome.new_primary, run->switched || strcmp(state, "promoted") == 0 ? run->target : "",
			sizeof(outcome.new_primary));
	mailbox_answer(&outcome, &run->verdict);
}

static bool
ends_with(const char *text, char c)
{
	return text[0] != '\0' && text[strlen(text) - 1] == c;
}

/* Who waits has his answer also when the row cannot be written (a full disk); that is then tried until it can. */
static void
save_end(void)
{
	PG_TRY();
	{
		journal_save_steps(run);
		journal_save_relaxed(run);
		journal_save_run(run);
		if (!run->moves && strcmp(run->state, "succeeded") == 0)
			journal_close_mended(run);
	}
	PG_CATCH();
	{
		run_answer(run->state);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* The run ends here, with a row that says how. */
void
run_finish(const char *state)
{
	strlcpy(run->state, state, sizeof(run->state));
	if (run->verdict.sqlstate[0] && run->verdict.detail[0] == '\0')
		snprintf(run->verdict.detail, sizeof(run->verdict.detail), "Run " INT64_FORMAT " was %s: %s%s%s", run->id,
				 strcmp(state, "stuck") == 0 ? "left stuck" : "rolled back", run->sentence,
				 ends_with(run->sentence, '.') ? "" : ".",
				 run->moves && strcmp(state, "rolled_back") == 0 && gate_state() == GATE_OPEN ?
				 " Writes go on here as before." : "");
	save_end();
	run_publish();
	ereport(LOG, (errmsg("run " INT64_FORMAT " (%s to \"%s\") ended: %s%s%s", run->id, run->runbook, run->target, state,
						 run->sentence[0] ? ", " : "", run->sentence)));
	mailbox_event("run " INT64_FORMAT ": %s", run->id, state);
	run_answer(state);
	run_forget();
}

/* ---- forward ---- */

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

/* A node is to follow this primary by it. */
static bool
concerns_standby(const Step *step)
{
	return strcmp(step->name, "rejoin") == 0 || strcmp(step->name, "follow") == 0;
}

/* It has changed, or may have, what no undo puts back: a route beside others, a node that it has begun to rewind. */
static bool
is_lasting(const Step *step)
{
	if (concerns_standby(step))
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
bool
run_paused_after(const char *action)
{
	return worker_pause_after[0] && strcmp(worker_pause_after, action) == 0;
}

static bool
paused(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mine && run->steps[i].state == STEP_SUCCEEDED && run_paused_after(run->steps[i].name))
			return true;
	return false;
}

/* A step that the clients wait for, and whose success lets them go on. */
static bool
leads_clients(const Step *step)
{
	RunRoute   *route = strcmp(step->name, "repoint") == 0 ? run_route(run, step->subject) : NULL;

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

/* Sends what was measured here to the target's agent, where its worker finds it: it has seen the same from behind. */
static void
leave_note(void)
{
	char	   *url = job_url(run, run->target);

	if (url == NULL)
		return;
	agents_release(run->ask);
	run->ask = agents_post(url, "/v1/jobs", job_request(run, "blackout", "note",
														json_pack("{s:f, s:o}", "blackout_ms", run->blackout_ms, "steps", blackout_steps(run)), 0),
						   1000);
}

/* The old primary's part is over; it cannot write any more. */
static void
hand_over(void)
{
	strlcpy(run->state, RUN_HANDED_OVER, sizeof(run->state));
	run_publish();
	if (!run->answered)
		mailbox_event("\"%s\" comes back by itself; there the run goes on: SELECT * FROM pingpong.progress on \"%s\"",
					  run->source, run->target);
	run_answer(run->switched ? "switched" : "promoted");
	if (run->ask == NULL)
		leave_note();
	if (run->ask && !run->ask->done)
		return;
	run_forget();
}

/*
 * The primary is there, and its clients cannot work: no client can write (verify), or the site's own test of an RW
 * route says so.
 */
static bool
cannot_write(Step *step)
{
	RunRoute   *route = strcmp(step->name, "smoke") == 0 ? run_route(run, step->subject) : NULL;

	return (route && strcmp(route->kind, "rw") == 0) ||
		(strcmp(step->name, "verify") == 0 && strcmp(step->verdict.sqlstate, "25006") == 0);
}

/* The run ends with this step: its caller is told in the step's words. */
static void
blame(Step *failed)
{
	run->verdict = failed->verdict;
	if (run->verdict.sqlstate[0] == '\0')
		verdict_set(&run->verdict, "55000", failed->message[0] ? failed->message : "a step failed");
}

/* A failure that an operator has to mend: clients are not served, or a node is no standby. NULL: there is none. */
static Step *
find_stuck(void)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->state == STEP_FAILED && (strcmp(step->name, "repoint") == 0 || concerns_standby(step) || cannot_write(step)))
			return step;
	}
	return NULL;
}

/* The sentence tells how to mend it. */
static void
finish_stuck(Step *failed)
{
	bool		node = concerns_standby(failed);

	snprintf(run->sentence, sizeof(run->sentence), "\"%s\" is the primary, but %sstep %s of \"%s\" failed: %s. "
			 "Mend the cause, then run SELECT pingpong.%s%s%s on it.",
			 worker_self(), cannot_write(failed) ? "its clients are not served: " : "", failed->name, failed->subject,
			 failed->message,
			 node ? "rebuild('" : "repoint(", node ? failed->subject : "", node ? "')" : ")");
	blame(failed);
	run_finish("stuck");
}

/* The old primary's measurement of the blackout, if it reached our agent. True when asked. */
static bool
fetch_note(void)
{
	char		path[256];
	json_t	   *ms;

	if (run->noted)
		return true;
	if (run->ask == NULL)
	{
		snprintf(path, sizeof(path), "/v1/jobs/%s/blackout", run->key);
		run->ask = agents_get(job_url(run, run->target), path, 1000);
		return false;
	}
	if (!run->ask->done)
		return false;
	run->noted = true;
	baton_take_steps(job_result(run->ask->body));
	ms = json_object_get(job_result(run->ask->body), "blackout_ms");
	if (json_is_number(ms) && json_number_value(ms) >= 0)
		run->blackout_ms = json_number_value(ms);
	return true;
}

static void
all_done(void)
{
	Step	   *failed;

	if (run->moves && !run->is_target)
	{
		hand_over();
		return;
	}
	if (run->is_target && !fetch_note())
		return;
	note_switched();			/* by the old primary's routes */
	for (int i = 0; i < run->nsteps; i++)
		if (!run->steps[i].mine && run->steps[i].state == STEP_PENDING)
			run->steps[i].state = STEP_SKIPPED;	/* the old primary's, behind its last word */
	failed = find_stuck();
	if (failed)
	{
		finish_stuck(failed);
		return;
	}
	failed = failed_step(false);
	snprintf(run->sentence, sizeof(run->sentence), failed ? "done, but step %s of \"%s\" failed: %s" : "done",
			 failed ? failed->name : "", failed ? failed->subject : "", failed ? failed->message : "");
	run_finish("succeeded");
}

long
run_in_doubt(void)
{
	run->phase = RUN_ASKING;
	run->ask_at = 0;
	return 0;
}

/* By the one who waits for the run: with whoever has come since it has nothing to do. */
bool
run_cancelled_by_caller(void)
{
	return !run->answered && mailbox_cancelled();
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
		snprintf(run->sentence, sizeof(run->sentence), "step %s of \"%s\" failed: %s", failed->name, failed->subject, failed->message);
		blame(failed);
		return true;
	}
	if (run->ordered)
		return false;
	if (cancelled() && !run->moves && (give_up_jobs() || ends_here()))
		return false;			/* the agents are told; their jobs' ends are waited for */
	if (cancelled())
	{
		strlcpy(run->sentence, run_cancelled_by_caller() ? "cancelled by the caller" : "cancelled by pingpong.cancel()", sizeof(run->sentence));
		verdict_set(&run->verdict, "57014", "the run was cancelled and rolled back");
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
		verdict_set(&run->verdict, "57014", run->sentence);
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

/*
 * An operator has removed the seal (pingpong.resume with a risk) while the run
 * went on: this server takes writes again, so the order must not be given once
 * more, and is taken back if it still can be.
 */
bool
run_overruled(void)
{
	GateSeal	seal;

	if (run->is_target || run->seal_lsn == InvalidXLogRecPtr || run->switched || run->phase == RUN_UNDOING ||
		(gate_get_seal(&seal) && strcmp(seal.run, run->key) == 0))
		return false;
	run->ordered = false;
	strlcpy(run->sentence, "an operator removed the seal; make sure that the target was not and will not be promoted",
			sizeof(run->sentence));
	verdict_set(&run->verdict, "55000", "the seal was removed by an operator");
	return true;
}

static long
forward(void)
{
	bool		changed = false;
	int			ordinal = next_ordinal();

	note_switched();			/* by what a predecessor did, perhaps */
	if (run_overruled())
	{
		undo_start();
		return 0;
	}
	if (order_overdue())
		return run_in_doubt();
	if (must_undo())
	{
		if (run->ordered)
			return run_in_doubt();
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
	if (json_object_get(run->options, "risk") && !mailbox_of_superuser())
	{
		verdict_set(&run->verdict, "42501", "must be superuser to take a risk");
		run_answer("refused");
		run_forget();
		MemoryContextSwitchTo(old);
		return;
	}
	journal_load_topology(run);
	gather_start();
	MemoryContextSwitchTo(old);
}

/* A run that nobody has asked for: the worker's own, on this server. */
void
runner_start_own(const char *runbook)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);

	run_new();
	run->request = REQUEST_RUN;
	run->answered = true;
	run->own = true;
	run->own_since = now_us();
	run->options = json_pack("{s:s}", "runbook", runbook);
	strlcpy(run->source, worker_self(), sizeof(run->source));
	strlcpy(run->target, worker_self(), sizeof(run->target));
	strlcpy(run->requested_by, "pg_pingpong worker", sizeof(run->requested_by));
	strlcpy(run->runbook, runbook, sizeof(run->runbook));
	journal_load_topology(run);
	gather_start();
	MemoryContextSwitchTo(old);
}

/* A backend asks for something while a run that we took over is not at its end. */
void
runner_reject(void)
{
	Outcome		none;
	Verdict		v;
	Step	   *step = NULL;

	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_RUNNING)
			step = &run->steps[i];
	memset(&none, 0, sizeof(none));
	verdict_set(&v, "55006", "a run is in progress");
	snprintf(v.detail, sizeof(v.detail), "Run " INT64_FORMAT " (%s to \"%s\") is at step %s of \"%s\".", run->id, run->runbook,
			 run->target, step ? step->name : "none", step ? step->subject : "");
	strlcpy(v.hint, "See pingpong.progress, and try again when it has ended.", sizeof(v.hint));
	mailbox_answer(&none, &v);
	mailbox_finish();
}

static long
advance_phase(void)
{
	switch (run->phase)
	{
		case RUN_GATHERING:
			return gather_advance();
		case RUN_TAKING_OVER:
			return baton_advance();
		case RUN_FORWARD:
			return forward();
		case RUN_ASKING:
			return verdict_advance();
		case RUN_UNDOING:
			return undo_advance();
	}
	return 1000;
}

/* Moves the run as far as it goes without waiting; gives the longest nap in ms. */
long
runner_advance(void)
{
	MemoryContext old = MemoryContextSwitchTo(run_context);
	long		nap = 0;

	for (int i = 0; run != NULL && nap == 0 && i < 20; i++)
	{
		nap = advance_phase();
		agents_advance();
	}
	MemoryContextSwitchTo(old);
	return nap;
}

/*
 * A run that was stored but cannot be worked on (its runbook has changed, say)
 * must not stay "running", or nothing else would ever begin. Does not throw: if even
 * that cannot be stored, the worker ends, and its successor tries again.
 */
void
run_give_up(const ErrorData *error)
{
	char		sentence[PP_TEXT_LEN];
	bool		sealed = run->moves && gate_state() == GATE_SEALED;

	if (run->id == 0 || sealed)
		return;
	snprintf(sentence, sizeof(sentence), "the run could not be worked on: %s", error->message);
	PG_TRY();
	{
		journal_give_up(run->id, run->request == REQUEST_NONE ? "stuck" : "rolled_back", sentence);
	}
	PG_CATCH();
	{
		proc_exit(1);
	}
	PG_END_TRY();
}

/*
 * An action or the journal raised an error: the steps that were being worked
 * on have failed. What could not be stored is derived anew after a restart of
 * the worker, so repeated errors simply end it.
 */
void
runner_error(const ErrorData *error)
{
	if (run == NULL)
		return;
	if (run->phase == RUN_GATHERING && run->request == REQUEST_NONE)
	{
		recover_failed(error);
		return;
	}
	if (run->phase == RUN_GATHERING)
	{
		verdict_set(&run->verdict, unpack_sql_state(error->sqlerrcode), error->message);
		if (error->detail)
			strlcpy(run->verdict.detail, error->detail, sizeof(run->verdict.detail));
		run_answer("refused");
		run_give_up(error);
		run_forget();
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
