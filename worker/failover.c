/*
 * failover.c - a failover as a request.
 *
 * SQL judges (schema/45-failover.sql), so that the plan that is shown and the request come to the same end. This file
 * hands over what SQL says.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "common/sqlstate.h"
#include "worker/baton.h"
#include "worker/db.h"
#include "worker/failover.h"
#include "worker/mailbox.h"
#include "worker/runbook.h"

bool
failover_find_source(Run *run)
{
	run->source[0] = '\0';
	db_begin();
	if (db_exec("SELECT name FROM pingpong_internal.failover_source()", 0) == 1)
		db_copy(run->source, sizeof(run->source), 0, 1);
	db_end();
	return run->source[0] != '\0';
}

static void
take_refusal(Run *run)
{
	failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, db_text(0, 1));
	db_copy(run->failure.detail, sizeof(run->failure.detail), 0, 2);
	db_copy(run->failure.hint, sizeof(run->failure.hint), 0, 3);
}

static void
take_choice(Run *run)
{
	json_error_t err;
	json_t	   *notes = json_loads(db_text(0, 5), 0, &err);

	db_copy(run->target, sizeof(run->target), 0, 1);
	run->epoch = strtoll(db_text(0, 2), NULL, 10);
	run->id = strtoll(db_text(0, 3), NULL, 10);
	db_copy(run->key, sizeof(run->key), 0, 4);
	json_object_update(run->notes, notes);
	json_decref(notes);
}

bool
failover_judge(Run *run)
{
	const char *wanted = run->target[0] ? run->target : NULL;
	const char *risk = run_option_text(run, "risk", NULL);
	bool		refused;

	db_begin();
	refused = db_exec("SELECT message, detail, hint FROM pingpong_internal.failover_refusal($1, $2) "
					  "WHERE message IS NOT NULL", 2, wanted, risk) > 0;
	if (refused)
		take_refusal(run);
	else if (db_exec("SELECT target, epoch, id, key, notes::pg_catalog.text FROM "
					 "pingpong_internal.failover_choice($1)", 1, wanted) == 1)
		take_choice(run);
	else
		elog(ERROR, "no target was chosen");
	db_end();
	return !refused;
}

/* The node whose agent does the step. */
static const char *
agent_of(Run *run, const Step *step)
{
	RunRoute   *route = run_route(run, step->node);

	return route ? route->router : step->node;
}

static bool
is_silent(Run *run, const char *node)
{
	json_t	   *name;
	size_t		i;

	json_array_foreach(json_object_get(run->notes, "silent"), i, name)
		if (strcmp(json_string_value(name), node) == 0)
			return true;
	return false;
}

/*
 * Before the promotion they are left out. After it they have failed at once, so that the run, which goes on without
 * them, ends with what is left to do. The fence has ways of its own.
 */
void
failover_pass_over(Run *run)
{
	Step	   *promote = run_promote_step(run);

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->state != STEP_PENDING || step->action->orders == NULL || strcmp(step->name, "fence") == 0 ||
			!is_silent(run, agent_of(run, step)))
			continue;
		step->silent = true;
		step->state = step->ordinal > promote->ordinal && step->fix[0] ? STEP_FAILED : STEP_SKIPPED;
		snprintf(step->message, sizeof(step->message), "the agent of \"%s\" does not answer", agent_of(run, step));
	}
}

void
failover_begin(Run *run)
{
	json_t	   *heard = json_object_get(run->notes, "heard_ms");

	run->unrecorded = true;
	run->moves = true;
	run->begun_at = GetCurrentTimestamp();
	strlcpy(run->state, "running", sizeof(run->state));
	mailbox_forget_cancel(run->id);
	runbook_load(run);
	failover_pass_over(run);
	baton_write(run);
	/* nobody can write since the old primary was heard of last, as far as that is known */
	run->blackout = true;
	INSTR_TIME_SET_CURRENT(run->blackout_began);
	run->elapsed_ms = json_is_number(heard) ? json_number_value(heard) : 0;
	mailbox_event("run " INT64_FORMAT ": %s from \"%s\" to \"%s\"", run->id, run->runbook, run->source, run->target);
}
