/*
 * finish.c - how a run ends: its row, its sentence, the answer to who waits for it.
 */
#include "postgres.h"

#include "storage/ipc.h"

#include "gate/gate.h"
#include "worker/finish.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/relaxation.h"
#include "worker/settings.h"

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
		relaxation_save(run);
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
finish_run(const char *state)
{
	strlcpy(run->state, state, sizeof(run->state));
	if (run->failure.sqlstate[0] && run->failure.detail[0] == '\0')
		snprintf(run->failure.detail, sizeof(run->failure.detail), "Run " INT64_FORMAT " was %s: %s%s%s", run->id,
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

/* Both may take writes: nothing of the target is undone, and an operator must decide. */
void
finish_opened_behind(void)
{
	snprintf(run->sentence, sizeof(run->sentence), "\"%s\" was promoted, or another server was since, and this server takes writes. "
			 "Make sure that no other one does, then run SELECT pingpong.repoint() and SELECT pingpong.rebuild('%s') here.",
			 run->target, run->target);
	failure_set(&run->failure, "55000", "the target was promoted, and this server takes writes");
	finish_run("stuck");
}

/*
 * The primary is there, and its clients cannot work: no client can write (verify), or the site's own test of an RW
 * route says so.
 */
static bool
cannot_write(Step *step)
{
	RunRoute   *route = strcmp(step->name, "smoke") == 0 ? run_route(run, step->node) : NULL;

	return (route && strcmp(route->kind, "rw") == 0) ||
		(strcmp(step->name, "verify") == 0 && strcmp(step->failure.sqlstate, "25006") == 0);
}

/* The run ends with this step: its caller is told in the step's words. */
void
finish_blame(Step *failed)
{
	run->failure = failed->failure;
	if (run->failure.sqlstate[0] == '\0')
		failure_set(&run->failure, "55000", failed->message[0] ? failed->message : "a step failed");
}

/* A failure that an operator has to mend: clients are not served, or a node is no standby. NULL: there is none. */
Step *
finish_find_stuck(void)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->state == STEP_FAILED && (strcmp(step->name, "repoint") == 0 || step_concerns_standby(step) || cannot_write(step)))
			return step;
	}
	return NULL;
}

/* The sentence tells how to mend it. */
void
finish_stuck(Step *failed)
{
	bool		node = step_concerns_standby(failed);

	snprintf(run->sentence, sizeof(run->sentence), "\"%s\" is the primary, but %sstep %s of \"%s\" failed: %s. "
			 "Mend the cause, then run SELECT pingpong.%s%s%s on it.",
			 worker_self(), cannot_write(failed) ? "its clients are not served: " : "", failed->name, failed->node,
			 failed->message,
			 node ? "rebuild('" : "repoint(", node ? failed->node : "", node ? "')" : ")");
	finish_blame(failed);
	finish_run("stuck");
}

/*
 * A run that was stored but cannot be worked on (its runbook has changed, say)
 * must not stay "running", or nothing else would ever begin. Does not throw: if even
 * that cannot be stored, the worker ends, and its successor tries again.
 */
void
finish_give_up(const ErrorData *error)
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
