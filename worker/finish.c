/*
 * finish.c - how a run ends: its row, its sentence, the answer to the caller.
 */
#include "postgres.h"

#include "storage/ipc.h"

#include "gate/state.h"
#include "worker/baton.h"
#include "worker/db.h"
#include "worker/finish.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/relaxation.h"

static bool
ends_with(const char *text, char c)
{
	return text[0] != '\0' && text[strlen(text) - 1] == c;
}

/* Of the undone run: a seal, or a token, that would stay. */
static bool
leaves_something(void)
{
	for (int i = 0; i < run->nundo; i++)
		if (run->undo[i].state == STEP_FAILED && !(run->undo[i].action->traits & ACTION_ENDS_ALONE))
			return true;
	return false;
}

/*
 * Of a failover there is no row, and there will be none: the log and the caller know how it ended. Where something of
 * it is left, its file stays, and the next worker undoes it once more. The file of a later failover takes its place.
 */
static void
drop_file(RunPhase end)
{
	size_t		used = strlen(run->sentence);

	if (end != RUN_ROLLED_BACK || !leaves_something())
	{
		baton_remove();
		return;
	}
	snprintf(run->sentence + used, sizeof(run->sentence) - used,
			 ". That is tried again when the worker of this server is started the next time");
}

/*
 * The caller gets the answer even if the row cannot be written (a full disk). The row is then tried until it can.
 * In one transaction: a successor that saw what the steps say, and not how the run ended, could come to another end.
 */
static void
save_end(void)
{
	if (run->unrecorded)
		return;
	PG_TRY();
	{
		db_begin();
		journal_save_steps(run);
		relaxation_save(run);
		journal_save_run(run);
		if (!run->moves && strcmp(run->state, "succeeded") == 0)
			journal_close_fixed(run);
		db_end();
	}
	PG_CATCH();
	{
		run_answer(run->state, false);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

static void
end_with_answer(const char *state)
{
	run_answer(state, true);
	run_forget();
}

/* With a row that says how. */
static void
end_with_row(RunPhase end, const char *state)
{
	strlcpy(run->state, state, sizeof(run->state));
	if (run->unrecorded)
		drop_file(end);
	if (run->failure.sqlstate[0] && run->failure.detail[0] == '\0')
		snprintf(run->failure.detail, sizeof(run->failure.detail), "Run " INT64_FORMAT " was %s: %s%s%s", run->id,
				 end == RUN_STUCK ? "left stuck" : "rolled back", run->sentence,
				 ends_with(run->sentence, '.') ? "" : ".",
				 run->moves && !run->unrecorded && end == RUN_ROLLED_BACK && gate_state() == GATE_OPEN ?
				 " Writes go on here as before." : "");
	save_end();
	run->phase = end;
	run_publish();
	ereport(LOG, (errmsg("run " INT64_FORMAT " (%s to \"%s\") ended: %s%s%s", run->id, run->runbook, run->target,
						 state, run->sentence[0] ? ", " : "", run->sentence)));
	mailbox_event("run " INT64_FORMAT ": %s", run->id, state);
	end_with_answer(state);
}

/* Nothing can be written here: the end is in pingpong.progress only, and a restarted worker finds it again. */
static void
end_left_behind(void)
{
	ereport(LOG, (errmsg("run " INT64_FORMAT ": %s", run->id, run->sentence)));
	mailbox_event("%s", run->sentence);
	strlcpy(run->state, "stuck", sizeof(run->state));
	if (run->unrecorded)
		baton_remove();
	run->phase = RUN_LEFT_BEHIND;
	run_publish();
	end_with_answer("stuck");
}

void
finish(RunPhase end)
{
	switch (end)
	{
		case RUN_SUCCEEDED:
			end_with_row(end, "succeeded");
			break;
		case RUN_ROLLED_BACK:
			end_with_row(end, "rolled_back");
			break;
		case RUN_STUCK:
			end_with_row(end, "stuck");
			break;
		case RUN_LEFT_BEHIND:
			end_left_behind();
			break;
		case RUN_DROPPED:
		case RUN_REFUSED:
			end_with_answer("refused");
			break;
		case RUN_TOLD:
			end_with_answer("facts");
			break;
		default:				/* there was none, or it goes on elsewhere: no session waits here */
			run_forget();
	}
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

	if (run->id == 0 || sealed || run->unrecorded)
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
