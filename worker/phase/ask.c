/*
 * ask.c - the phase "asking": promote was ordered and not answered. Was the target promoted?
 *
 * Until there is proof this server stays sealed and asks. A wrong "no" would open it beside a second primary.
 *
 * The first witness is the target's agent. "promoted" decides, and so does "burned" if it comes from the memory that
 * armed the token. "unknown", silence and a refusal prove nothing. The second witness is the target itself: if it
 * still follows this server when the token's time to live is certainly over, it was not promoted. It counts only when
 * the agent cannot say.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"

#include "common/sqlstate.h"
#include "gate/lag.h"
#include "gate/sealing.h"
#include "worker/clock.h"
#include "worker/job.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/wal.h"

#define ASK_US			(20 * 1000)
#define ASK_LATER_US	(1000 * 1000)
#define TTL_MARGIN_US	(5 * INT64CONST(1000000))
#define WITNESS_BYTES	64

static void
ask_verdict(void)
{
	char		key[64];

	protocol_question_key(key, sizeof(key), QUESTION_VERDICT, MyProcPid, ++run->asks);
	run->ask = job_post(run, run->target, key, ACTION_TOKEN_BURN, json_new(), 2000, 4000);
	if (run->sentence[0] == '\0')
		snprintf(run->sentence, sizeof(run->sentence),
				 "%swaiting for the agent of \"%s\" to say whether it was promoted",
				 run->unrecorded ? "" : "sealed, ", run->target);
}

/*
 * The verdict is in, so the step has its answer even if the first one was lost. What failed before it stays as it is:
 * the run went on without that, and this is still the blackout.
 */
static void
promoted(void)
{
	Step	   *promote = run_promote_step(run);

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step == promote)
			step->state = STEP_SUCCEEDED;
		else if (step->ordinal < promote->ordinal && step->state <= STEP_RUNNING)
			step->state = STEP_SUCCEEDED;
		else if (step->ordinal > promote->ordinal && step->state == STEP_FAILED)
			step->state = STEP_PENDING;
	}
	run->sentence[0] = '\0';
	memset(&run->failure, 0, sizeof(run->failure));
}

static void
not_promoted(const Rule *rule)
{
	run->ordered = false;
	if (rule->reason == REASON_FOLLOWS)
	{
		ereport(LOG, (errmsg("run " INT64_FORMAT ": \"%s\" still follows this server after the time to "
							 "live of its promote token, "
							 "so it was not promoted", run->id, run->target)));
		if (run->failure.sqlstate[0] == '\0')
			failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE,
						"the target was not promoted: it still follows this server, and its agent cannot say more");
	}
	if (run->failure.sqlstate[0])
		snprintf(run->sentence, sizeof(run->sentence), "the target was not promoted: %s", run->failure.message);
	else
	{
		failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, "the target was not promoted");
		strlcpy(run->sentence, run->failure.message, sizeof(run->sentence));
	}
}

/* ---- the second witness ---- */

/*
 * Since when the token's time to live has certainly run. After a restart of the server only our own start counts: a
 * clock that others can set proves nothing.
 */
static int64
ttl_over_at(void)
{
	return run->armed_us + run_token_ttl_ms(run) * INT64CONST(1000) + TTL_MARGIN_US;
}

/*
 * WAL without content, so that the target has something to replay. Past the fork, if there is one: it costs a rewind.
 */
static XLogRecPtr
write_mark(void)
{
	XLogRecPtr	lsn;

	wal_pad(WITNESS_BYTES);
	lsn = gate_insert_end();
	XLogFlush(lsn);
	return lsn;
}

/*
 * The target replays what is written now, and then again what is written after it was seen to have replayed that: in
 * between it had nothing to replay, and would have obeyed a promotion. Both are after the time to live, in which
 * alone its agent could have ordered one. True: it was not promoted.
 */
static bool
target_follows(void)
{
	LagStandby	lag;

	/* by its slot: another standby may call itself the same */
	if (run->unrecorded)
		return false;			/* nobody follows a standby that has begun a failover */
	if (now_us() < ttl_over_at() || !run_find_target(run, &lag) || !lag.by_slot ||
		strcmp(lag.state, "streaming") != 0)
	{
		run->witness = 0;
		return false;
	}
	if (run->witness == 0)
	{
		run->witness_lsn = write_mark();
		run->witness = 1;
		return false;
	}
	if (lag.replay < run->witness_lsn)
		return false;
	if (run->witness == 1)
	{
		run->witness_lsn = write_mark();
		run->witness = 2;
		return false;
	}
	return true;
}

/* ---- answers ---- */

/* The memory that armed the token, as the journal has it; "" if the answer was never seen. */
static const char *
armed_memory(json_t **detail)
{
	*detail = NULL;
	for (int i = 0; i < run->nsteps; i++)
	{
		*detail = step_detail(&run->steps[i]);
		if (protocol_text(*detail, "memory")[0])
			break;
		json_decref(*detail);
		*detail = NULL;
	}
	return protocol_text(*detail, "memory");
}

/*
 * Only the agent that armed the token can say that it was not used. Where the armed token's answer was not seen,
 * there was no order either.
 */
static bool
memory_is_right(json_t *result)
{
	json_t	   *detail;
	const char *armed = armed_memory(&detail);
	bool		right = armed[0] != '\0' && strcmp(armed, protocol_text(result, "memory")) == 0;

	json_decref(detail);
	return right;
}

static void
tell(const char *reason)
{
	snprintf(run->sentence, sizeof(run->sentence),
			 "%sthe agent of \"%s\" does not say whether it was promoted (%s). "
			 "Bring that agent and its server back; this server asks again.", run->unrecorded ? "" : "sealed: ",
			 run->target, reason);
	if (strcmp(run->told, reason) == 0)
		return;
	strlcpy(run->told, reason, sizeof(run->told));
	mailbox_event("no verdict yet from the agent of \"%s\" (%s); this server %sasks again", run->target, reason,
				  run->unrecorded ? "" : "stays sealed and ");
	ereport(LOG, (errmsg("run " INT64_FORMAT ": no verdict yet from the agent of \"%s\": %s", run->id, run->target,
						 reason)));
}

/* The target's agent has proof of a newer epoch: the primary has moved on without this server. */
static void
moved_on(void)
{
	if (run->unrecorded)
	{
		snprintf(run->sentence, sizeof(run->sentence),
				 "The agent of \"%s\" knows a newer epoch than %lld: another run has moved the primary.", run->target,
				 (long long) run->epoch);
		failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, run->sentence);
		return;
	}
	snprintf(run->sentence, sizeof(run->sentence),
			 "The primary has moved on: the agent of \"%s\" knows a newer epoch than %lld. "
			 "This server stays sealed. On the present primary run SELECT pingpong.rebuild('%s').", run->target,
			 (long long) run->epoch, run->source);
	failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, run->sentence);
}

/* What the answer says; 0: it decides nothing, and the operator is told why. */
static uint32
judge_answer(AgentCall *call)
{
	json_t	   *result = protocol_result(call->body, 0);
	const char *verdict = protocol_text(result, "verdict");
	const char *reason = protocol_text(result, "reason");

	if (call->status == 200 && strcmp(protocol_text(call->body, "state"), JOB_STATE_RUNNING) == 0)
		run->asks--;			/* the same question, whose answer takes its time */
	else if (call->status == 409)
		return FACT_NEWER;
	else if (strcmp(verdict, VERDICT_PROMOTED) == 0)
		return FACT_PROMOTED;
	else if (strcmp(verdict, VERDICT_BURNED) == 0 && memory_is_right(result))
		return FACT_BURNED;
	else if (strcmp(verdict, VERDICT_BURNED) == 0)
		tell("its state was lost or is another one since the run began");
	else if (verdict[0])
		tell(reason[0] ? reason : verdict);
	else
		tell(call_problem(call));
	return 0;
}

/* Not where the agent knows that the order is out: then only it can say when that has its end. */
static uint32
hear_witness(AgentCall *call)
{
	if (strcmp(protocol_text(protocol_result(call->body, 0), "verdict"), VERDICT_PROMOTING) == 0 || !target_follows())
		return 0;
	return FACT_FOLLOWS;
}

static void
enter(const Rule *rule)
{
	run->ask_at = 0;
}

static uint32
look(void)
{
	uint32		facts = run_facts();
	uint32		said;

	if (run->ask == NULL || !run->ask->done)
		return facts;
	said = judge_answer(run->ask);
	if (said == 0)
		said = hear_witness(run->ask);
	agents_release(run->ask);
	run->ask = NULL;
	run->ask_at = now_us() + (run->asks > 50 && run->witness == 0 ? ASK_LATER_US : ASK_US);
	return facts | said;
}

static long
work(RunWork what)
{
	run_publish();
	if (run->ask)
		return 5;
	if (now_us() >= run->ask_at)
		ask_verdict();
	return run->ask ? 1 : 10;
}

static void
leave(const Rule *rule)
{
	switch (rule->reason)
	{
		case REASON_OVERRULED:
			run_note_overruled();
			break;
		case REASON_UNHEARD:
			snprintf(run->sentence, sizeof(run->sentence), "It is not known whether \"%s\" was promoted: given up by "
					 "pingpong.cancel(). Make sure that it is not, or that it is the only one, before anything else "
					 "is promoted.", run->target);
			failure_set(&run->failure, STATE_NOT_IN_PREREQUISITE_STATE, run->sentence);
			break;
		case REASON_NEWER:
			moved_on();
			break;
		case REASON_PROMOTED:
			promoted();
			break;
		default:
			not_promoted(rule);
	}
}

const Phase phase_ask = {enter, look, work, leave};
