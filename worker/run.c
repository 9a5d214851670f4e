/*
 * run.c - the run that is being worked on: look-ups, what an action says about its step, what others see.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/memutils.h"

#include "common/sqlstate.h"
#include "gate/lag.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "worker/mailbox.h"
#include "worker/run.h"
#include "worker/settings.h"

MemoryContext run_context;
Run		   *run;

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

/* An undo has no line: what stands against it is told with the step that it undoes. */
static void
publish_message(const Step *step, StepLine *line)
{
	strlcpy(line->message, step->message, sizeof(line->message));
	for (int i = 0; run->phase == RUN_UNDOING && i < run->nundo; i++)
		if (step_is_undone_by(step, &run->undo[i]) && run->undo[i].state <= STEP_RUNNING && run->undo[i].message[0])
			snprintf(line->message, sizeof(line->message), "%s: %s", run->undo[i].name, run->undo[i].message);
}

void
run_publish(void)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	worker_shared->run = run->id;
	/* who waits for a verdict on a failover may stop waiting: nothing is sealed here */
	worker_shared->run_ordered = !run->is_target && (run->ordered || run->phase == RUN_ASKING) &&
		!(run->phase == RUN_ASKING && run->unrecorded);
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
		strlcpy(line->node, step->node, sizeof(line->node));
		strlcpy(line->state, step_state_name(step->state), sizeof(line->state));
		line->started = step->started;
		line->ms = step->ms;
		line->attempt = step->attempt;
		publish_message(step, line);
	}
	LWLockRelease(worker_shared->lock);
}

void
run_answer(const char *state, bool over)
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
	mailbox_answer(&outcome, &run->failure, over);
}

/* By the caller of the run. A session that came later has nothing to do with it. */
bool
run_cancelled_by_caller(void)
{
	return !run->answered && mailbox_cancelled();
}

/* By the caller, or by pingpong.cancel(). */
bool
run_cancelled(void)
{
	return run_cancelled_by_caller() || mailbox_cancel_wanted(run->id);
}

bool
run_has_sealed(GateSeal *seal)
{
	return gate_get_seal(seal) && strcmp(seal->run, run->key) == 0;
}

bool
run_is_on_new_server(Run *run)
{
	return PG_VERSION_NUM / 10000 == run_option_int(run, "to_version", 0);
}

/*
 * An operator has removed the seal (pingpong.resume with a risk) while the run
 * went on: this server takes writes again, so the order must not be given once
 * more, and is revoked if it still can be.
 */
static bool
is_overruled(void)
{
	GateSeal	seal;

	return run->moves && !run->is_target && run->seal_lsn != InvalidXLogRecPtr && !run->switched &&
		!run_has_sealed(&seal);
}

bool
run_is_failover(const Run *run)
{
	return strcmp(run->runbook, RUNBOOK_FAILOVER) == 0;
}

uint32
run_facts(void)
{
	return (run->unrecorded ? FACT_STANDBY : 0) | (run->moves ? FACT_MOVES : 0) | (run->is_target ? FACT_TARGET : 0) |
		(strcmp(run->source, worker_self()) == 0 ? FACT_SOURCE : 0) | (run->ordered ? FACT_ORDERED : 0) |
		(is_overruled() ? FACT_OVERRULED : 0) | (run_cancelled() ? FACT_CANCELLED : 0);
}

void
run_note_overruled(void)
{
	run->ordered = false;
	strlcpy(run->sentence, "an operator removed the seal; make sure that the target was not and will not be promoted",
			sizeof(run->sentence));
	failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, "the seal was removed by an operator");
}

void
run_note_opened(void)
{
	if (run->unrecorded)
	{
		snprintf(run->sentence, sizeof(run->sentence),
				 "\"%s\" was promoted meanwhile, and not by this run. Make sure that \"%s\" takes no writes, then "
				 "run SELECT pingpong.repoint() on \"%s\".", run->target, run->source, run->target);
		failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, "the target was promoted, and not by this run");
		return;
	}
	snprintf(run->sentence, sizeof(run->sentence),
			 "\"%s\" was promoted, or another server was since, and this server takes "
			 "writes. Make sure that no other one does, then run SELECT pingpong.repoint() and SELECT "
			 "pingpong.rebuild('%s') here.", run->target, run->target);
	failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE,
				"the target was promoted, and this server takes writes");
}

int
run_option_int(Run *run, const char *name, int otherwise)
{
	json_t	   *value = json_object_get(run->options, name);

	return json_is_integer(value) ? (int) json_integer_value(value) : otherwise;
}

const char *
run_option_text(Run *run, const char *name, const char *otherwise)
{
	const char *value = json_string_value(json_object_get(run->options, name));

	return value ? value : otherwise;
}

RunNode *
run_node(Run *run, const char *name)
{
	for (int i = 0; i < run->nnodes; i++)
		if (strcmp(run->nodes[i].name, name) == 0)
			return &run->nodes[i];
	return NULL;
}

/* No run waits for it: it is away already, or this run sets it away. */
bool
run_node_is_away(Run *run, RunNode *node)
{
	return node->away || (run->moves && strcmp(node->name, run->source) == 0 &&
						  strcmp(run_option_text(run, "old_primary", "rejoin"), "leave") == 0);
}

RunRoute *
run_route(Run *run, const char *name)
{
	for (int i = 0; i < run->nroutes; i++)
		if (strcmp(run->routes[i].name, name) == 0)
			return &run->routes[i];
	return NULL;
}

/* The point of no return; NULL in a runbook without one. */
Step *
run_promote_step(Run *run)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].mark == MARK_NO_RETURN)
			return &run->steps[i];
	return NULL;
}

/* Where the target is, as this server's walsender knows it. */
bool
run_find_target(Run *run, LagStandby *lag)
{
	RunNode    *node = run_node(run, run->target);

	return lag_standby(run->target, node ? node->slot : NULL, lag);
}

#define TTL_MS			30000	/* of a promote token, beyond the permitted blackout */

int
run_token_ttl_ms(Run *run)
{
	return run_option_int(run, "max_blackout_ms", 10000) + TTL_MS;
}

Step *
run_find_step(Run *run, ActionTrait trait, const char *node, StepState state)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if ((step->action->traits & trait) && step->state == state && (node == NULL || strcmp(step->node, node) == 0))
			return step;
	}
	return NULL;
}

bool
run_makes_standby(Run *run, const char *node)
{
	for (int i = 0; i < run->nsteps; i++)
		if ((run->steps[i].action->traits & ACTION_MAKES_STANDBY) && run->steps[i].state != STEP_SKIPPED &&
			strcmp(run->steps[i].node, node) == 0)
			return true;
	return false;
}

bool
step_is_undone_by(const Step *step, const Step *undo)
{
	return strcmp(step->undo, undo->name) == 0 && strcmp(step->node, undo->node) == 0 &&
		(step->ordinal == undo->ordinal || (undo->action && (undo->action->traits & ACTION_ONCE)));
}

static const char *const step_states[] = {"pending", "running", "succeeded", "failed", "skipped", "undone"};

const char *
step_state_name(StepState state)
{
	return step_states[state];
}

StepState
step_state_from(const char *name)
{
	for (int i = 0; i < lengthof(step_states); i++)
		if (strcmp(step_states[i], name) == 0)
			return (StepState) i;
	return STEP_PENDING;
}

/* The step failed, and this is why. Whether the run fails with it is not known here. */
ActionResult
step_fail(Step *step, const char *sqlstate, const char *fmt,...)
{
	va_list		args;

	va_start(args, fmt);
	vsnprintf(step->message, sizeof(step->message), fmt, args);
	va_end(args);
	failure_set(&step->failure, sqlstate, step->message);
	return ACTION_FAILED;
}

/* What the step left behind for its undo and for the report; NULL if nothing. Release it. */
json_t *
step_detail(Step *step)
{
	json_error_t err;

	return step->detail ? json_loads(step->detail, 0, &err) : NULL;
}

StepSaid
step_said(Step *step, const char *word)
{
	json_t	   *detail = step_detail(step);
	json_t	   *said = json_object_get(detail, word);
	StepSaid	result = json_is_true(said) ? SAID_YES : json_is_false(said) ? SAID_NO : SAID_NOTHING;

	json_decref(detail);
	return result;
}

/* Keeps `detail` (borrowed) with the step. */
void
step_keep(Step *step, json_t *detail)
{
	char	   *text = detail ? json_dumps(detail, JSON_COMPACT) : NULL;

	if (text != NULL)
		step->detail = pstrdup(text);
	free(text);
}

/* Lets go of the step's call. */
void
step_release(Step *step)
{
	agents_release(step->call);
	step->call = NULL;
}

void
step_key(const Step *step, char *to, size_t size)
{
	StepKey		key = {.ordinal = step->ordinal, .round = step->round};

	strlcpy(key.action, step->name, sizeof(key.action));
	strlcpy(key.node, step->node, sizeof(key.node));
	protocol_step_key(to, size, &key);
}

bool
run_may_journal(void)
{
	if (run->unrecorded || RecoveryInProgress())
		return false;
	/* what somebody else has closed does not keep the worker from writing */
	if (!run->moves)
		return !gate_is_mine() && gate_state() < GATE_STOPS_COMMITS;
	return run->is_target || (!run->blackout && !run->switched && run->phase != RUN_ASKING);
}

bool
step_is_away(const Step *step)
{
	return step->mark == MARK_AWAY && step->mine && step->state == STEP_RUNNING;
}
