/*
 * takeover.c - the phase "taking over": the promoted target takes the run over from the journal.
 *
 * First its own agent has to say that this run promoted the server. It knows from the job of the promotion, or, if
 * that did not survive (a power failure just after the promotion), from the token, which was on disk before the
 * order. Without that word the run does not go on: somebody may have promoted this server by hand, while the old
 * primary is still writable.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/job.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/settings.h"

#define ASK_US			(100 * 1000)
#define TELL_US			(2 * 1000 * 1000)

/* Milliseconds of the agent's wall clock, which is this host's. */
static TimestampTz
from_ms(double ms)
{
	return (TimestampTz) (ms * 1000) - ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
}

/* `result`: of the promotion's job or of the token; `ordered` and `took`: of the order, in ms. */
static void
take_timeline(json_t *result, double ordered, double took)
{
	json_t	   *timeline = json_object_get(result, "timeline");
	double		elapsed = json_number_value(json_object_get(timeline, "elapsed_ms"));
	TimestampTz began = from_ms(ordered - elapsed);
	Step	   *promote = run_promote_step(run);
	uint32		hi,
				lo;

	if (sscanf(protocol_text(timeline, "seal_lsn"), "%X/%X", &hi, &lo) == 2)
		run->seal_lsn = ((uint64) hi << 32) | lo;
	run->blackout_at = began;
	blackout_take_steps(timeline);
	promote->state = STEP_SUCCEEDED;
	promote->attempt = Max(promote->attempt, 1);
	promote->started = from_ms(ordered);
	promote->ms = Max(took, 0);
	promote->ended = promote->started + (TimestampTz) (promote->ms * 1000);
	/* the clock of the blackout goes on here, from where the old primary's stood */
	if (run->blackout_ms < 0)
	{
		INSTR_TIME_SET_CURRENT(run->blackout_began);
		run->blackout = true;
		run->elapsed_ms = (GetCurrentTimestamp() - began) / 1000.0;
	}
}

/*
 * This server crashed inside its promotion and came back on the timeline of the old primary: both may have different
 * records at the same places, which no start and no pg_rewind would notice. It has all that was sealed and takes
 * writes, so the routes come here; but a server that was a standby until now needs a copy.
 */
static void
forbid_following(void)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (!step->mine || !(step->action->traits & ACTION_MAKES_STANDBY))
			continue;
		step->state = STEP_FAILED;
		strlcpy(step->message, "the new primary crashed in its promotion and is on the old timeline; this "
				"node needs a base backup", sizeof(step->message));
	}
}

static void
take_over(json_t *result, double ordered, double took)
{
	int			timeline = (int) json_integer_value(json_object_get(run->notes, "timeline"));

	take_timeline(result, ordered, took);
	if (json_is_true(json_object_get(result, "same_timeline")) ||
		(timeline > 0 && (int) GetWALInsertionTimeLine() <= timeline))
		forbid_following();
	run->sentence[0] = '\0';
	run->ordered = true;
	ereport(LOG, (errmsg("taking over run " INT64_FORMAT " as the new primary", run->id)));
}

/* ---- asking ---- */

static void
ask_job(void)
{
	char		key[128];
	char		path[256];

	step_key(run_promote_step(run), key, sizeof(key));
	protocol_job_path(path, sizeof(path), run->key, key, 1000);
	run->ask = agents_get(job_url(run, run->target), path, 6000);
}

/* The answer to a server out of recovery is "promoted", or that the agent does not know; nothing is burned by it. */
static void
ask_token(void)
{
	char		key[64];

	run->token_asked = true;
	agents_release(run->ask);
	protocol_question_key(key, sizeof(key), QUESTION_TAKEOVER, MyProcPid, ++run->asks);
	run->ask = job_post(run, run->target, key, ACTION_TOKEN_BURN, json_new(), 2000, 6000);
}

/* Why the last answer decides nothing, in one line. */
static const char *
undecided(void)
{
	json_t	   *result = protocol_result(run->ask->body, 0);

	if (run->ask->status != 200)
		return run->ask->status == 404 ? "it does not know the job" : call_problem(run->ask);
	if (protocol_text(result, "reason")[0])
		return protocol_text(result, "reason");
	return protocol_text(result, "verdict")[0] ? protocol_text(result, "verdict") :
		protocol_text(run->ask->body, "state");
}

/* Says what it waits for. */
static void
tell_waiting(void)
{
	bool		cancelled = mailbox_cancel_wanted(run->id);

	if (run->unheard == 0)
		run->unheard = now_us();
	snprintf(run->sentence, sizeof(run->sentence),
			 "promoted, but the agent of \"%s\" does not say whether by this run (%s)%s",
			 run->target, undecided(), cancelled ? "; given up by pingpong.cancel()" : "");
	run_publish();
	if (!run->told_waiting && now_us() - run->unheard > TELL_US)
	{
		ereport(LOG, (errmsg("run " INT64_FORMAT ": %s", run->id, run->sentence)));
		run->told_waiting = true;
	}
}

/* What the job of the promotion says; 0: nothing. */
static uint32
judge_job(void)
{
	json_t	   *job = run->ask->body;

	return strcmp(protocol_text(job, "state"), JOB_STATE_SUCCEEDED) == 0 ||
		strcmp(protocol_text(protocol_result(job, 0), "verdict"), VERDICT_PROMOTED) == 0 ?
		FACT_PROMOTED : 0;
}

static uint32
judge_token(void)
{
	json_t	   *result = protocol_result(run->ask->body, 0);
	const char *verdict = protocol_text(result, "verdict");

	if (strcmp(verdict, VERDICT_PROMOTED) == 0 && json_is_true(json_object_get(result, "ordered")))
		return FACT_PROMOTED;
	return strcmp(verdict, VERDICT_PROMOTED) == 0 || strcmp(verdict, VERDICT_BURNED) == 0 ||
		strcmp(verdict, VERDICT_UNKNOWN) == 0 ? FACT_NOT_OURS : 0;
}

/* No answer, or one that decides nothing: from the beginning. */
static void
begin_anew(void)
{
	agents_release(run->ask);
	run->ask = NULL;
	run->token_asked = false;
	run->ask_at = now_us() + ASK_US;
}

static uint32
look(void)
{
	uint32		facts = run_facts();
	uint32		said;

	if (run->ask == NULL || !run->ask->done)
		return facts & ~FACT_CANCELLED;
	said = run->token_asked ? judge_token() : judge_job();
	if (said == 0)
		tell_waiting();
	if (run->unheard != 0 && now_us() - run->unheard >= worker_rejoin_timeout * INT64CONST(1000))
		said |= FACT_UNHEARD;
	return facts | said;
}

/* The token is asked when the job says nothing; then the job again. */
static long
work(RunWork what)
{
	if (run->ask == NULL)
	{
		if (now_us() < run->ask_at)
			return 10;
		ask_job();
		return 1;
	}
	if (!run->ask->done)
		return 5;
	if (run->token_asked || strcmp(protocol_text(run->ask->body, "state"), JOB_STATE_RUNNING) == 0 ||
		run->ask->body == NULL)
		begin_anew();
	else
		ask_token();
	return 1;
}

static void
not_ours(const char *reason)
{
	snprintf(run->sentence, sizeof(run->sentence),
			 "This server was promoted, but not by this run%s%s. Make sure that \"%s\" takes no writes "
			 "before you repoint anything.", reason[0] ? ": " : "", reason, run->source);
}

static void
take_over_by_answer(void)
{
	json_t	   *job = run->ask->body;
	json_t	   *result = protocol_result(job, 0);
	double		ordered = json_number_value(json_object_get(result, "ordered_ms"));
	double		promoted = json_number_value(json_object_get(result, "promoted_ms"));

	if (run->token_asked)
		take_over(result, ordered, promoted > 0 ? promoted - ordered : 0);
	else
		take_over(result, json_number_value(json_object_get(job, "received_ms")),
				  json_number_value(json_object_get(job, "elapsed_ms")));
}

static void
leave(const Rule *rule)
{
	if (rule->reason == REASON_PROMOTED)
		take_over_by_answer();
	else if (rule->reason == REASON_NOT_OURS)
		not_ours(protocol_text(protocol_result(run->ask->body, 0), "reason"));
	begin_anew();
}

const Phase phase_take_over = {NULL, look, work, leave};
