/*
 * runbook.c - the steps of a run: rows of the runbook, and what the journal knows about each.
 */
#include "postgres.h"

#include "executor/spi.h"

#include "worker/action/table.h"
#include "worker/db.h"
#include "worker/runbook.h"
#include "worker/together.h"

static OnFailure
failure_from(const char *name)
{
	return strcmp(name, "retry") == 0 ? FAIL_RETRY : strcmp(name, "continue") == 0 ? FAIL_CONTINUE : FAIL_UNDO;
}

static Step *
add_step(Run *run)
{
	if (run->nsteps == PP_STEPS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the runbook \"%s\" has more than %d steps", run->runbook, PP_STEPS)));
	return &run->steps[run->nsteps++];
}

/* To be read by read_step(). The run is a row, or, of a failover that is begun on a standby, only this text. */
#define STEPS_SQL \
	"SELECT s.ordinal, s.action, s.node, s.undo, s.on_failure, s.timeout_ms, s.worker, s.holds, " \
	"s.params::pg_catalog.text, s.requires, s.mark, s.fix, s.job FROM "
#define RUNBOOK_SQL \
	STEPS_SQL "pingpong.run r, pingpong_internal.run_steps(r) s WHERE r.id = $1::pg_catalog.int8"
#define UNRECORDED_SQL \
	STEPS_SQL "pingpong_internal.run_steps(pg_catalog.jsonb_populate_record(NULL::pingpong.run, " \
	"$1::pg_catalog.jsonb)) s"

static StepMark
mark_from(const char *name)
{
	if (name == NULL)
		return MARK_NONE;
	if (strcmp(name, "no_return") == 0)
		return MARK_NO_RETURN;
	if (strcmp(name, "away") == 0)
		return MARK_AWAY;
	return strcmp(name, "begins_blackout") == 0 ? MARK_BEGINS_BLACKOUT : MARK_ENDS_BLACKOUT;
}

static void
check_action(Run *run, const char *name)
{
	if (action_find(name) == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("runbook \"%s\" names an unknown action \"%s\"", run->runbook, name)));
}

static void
read_step(Run *run, Step *step, uint64 row, MemoryContext context)
{
	char	   *worker = db_text(row, 7);

	step->ordinal = atoi(db_text(row, 1));
	db_copy(step->name, sizeof(step->name), row, 2);
	db_copy(step->node, sizeof(step->node), row, 3);
	db_copy(step->undo, sizeof(step->undo), row, 4);
	step->on_failure = failure_from(db_text(row, 5));
	step->timeout_ms = atoi(db_text(row, 6));
	step->mine = strcmp(worker, "both") == 0 || (strcmp(worker, "target") == 0) == run->is_target;
	step->params = MemoryContextStrdup(context, db_text(row, 9));
	db_copy(step->needs, sizeof(step->needs), row, 10);
	step->mark = mark_from(db_text(row, 11));
	db_copy(step->fix, sizeof(step->fix), row, 12);
	db_copy(step->job, sizeof(step->job), row, 13);
	if (strcmp(db_text(row, 8), "t") != 0)
		step->state = STEP_SKIPPED;
	step->action = action_find(step->name);
	check_action(run, step->name);
	if (step->undo[0])
		check_action(run, step->undo);
	if (step->needs[0])
		check_action(run, step->needs);
}

static char *
text_of_run(Run *run)
{
	json_t	   *json = json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:s, s:O}", "id", (json_int_t) run->id, "key",
								 run->key, "runbook", run->runbook, "source", run->source, "target", run->target,
								 "epoch", (json_int_t) run->epoch, "state", run->state, "options", run->options);
	char	   *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	char	   *copy = text ? pstrdup(text) : NULL;

	free(text);
	json_decref(json);
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("the run could not be described")));
	return copy;
}

/* Each row of the runbook becomes a step for each of its nodes or routes. */
static void
load_runbook(Run *run, const char *id, MemoryContext context)
{
	char	   *text = run->unrecorded ? text_of_run(run) : NULL;
	uint64		n = text ? db_exec(UNRECORDED_SQL, 1, text) : db_exec(RUNBOOK_SQL, 1, id);

	for (uint64 i = 0; i < n; i++)
		read_step(run, add_step(run), i, context);
}

static Step *
find_step(Run *run, int ordinal, const char *name, const char *node)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].ordinal == ordinal && strcmp(run->steps[i].name, name) == 0 &&
			strcmp(run->steps[i].node, node) == 0)
			return &run->steps[i];
	return NULL;
}

/*
 * The steps of the run, from the runbook, with what the journal knows about
 * each. Both workers expand the same rows to the same steps.
 */
void
runbook_load(Run *run)
{
	MemoryContext context = CurrentMemoryContext;
	char		id[24];
	uint64		n;

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	run->steps = MemoryContextAllocZero(context, PP_STEPS * sizeof(Step));
	run->nsteps = 0;
	db_begin();
	load_runbook(run, id, context);
	n = run->unrecorded ? 0 :
		db_exec("SELECT ordinal, action, node, state, attempt, detail::pg_catalog.text, round, message FROM "
				"pingpong.step WHERE run = $1::pg_catalog.int8", 1, id);
	for (uint64 i = 0; i < n; i++)
	{
		Step	   *step = find_step(run, atoi(db_text(i, 1)), db_text(i, 2), db_text(i, 3));

		if (step == NULL)
			continue;
		step->state = step_state_from(db_text(i, 4));
		step->attempt = atoi(db_text(i, 5));
		step->round = atoi(db_text(i, 7));
		/* what a step says of its end stays, whoever goes on with the run */
		if (db_text(i, 8) && step->state > STEP_RUNNING)
			db_copy(step->message, sizeof(step->message), i, 8);
		if (db_text(i, 6))
			step->detail = MemoryContextStrdup(context, db_text(i, 6));
	}
	db_end();
	together_bind(run);
}
