/*
 * takeover.c - the promoted target takes the run over from the journal.
 *
 * Its own agent says whether it was this run that promoted the server: by the job of the promotion, or, where that did
 * not survive (a power failure just behind the promotion), by the token, which was on disk before the order. Without
 * its word nothing moves: somebody may have promoted us by hand, with the old primary still writable.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/finish.h"
#include "worker/job.h"
#include "worker/mailbox.h"
#include "worker/phase/takeover.h"
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

	if (sscanf(json_text(timeline, "seal_lsn"), "%X/%X", &hi, &lo) == 2)
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
 * writes, so the routes come here; but who was a standby until now needs a copy.
 */
static void
forbid_following(void)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (!step->mine || (strcmp(step->name, "rejoin") != 0 && strcmp(step->name, "follow") != 0))
			continue;
		step->state = STEP_FAILED;
		strlcpy(step->message, "the new primary crashed in its promotion and is on the old timeline; this node needs a base backup",
				sizeof(step->message));
	}
}

static void
take_over(json_t *result, double ordered, double took)
{
	int			timeline = (int) json_integer_value(json_object_get(run->notes, "timeline"));

	take_timeline(result, ordered, took);
	if (json_is_true(json_object_get(result, "same_timeline")) || (timeline > 0 && (int) GetWALInsertionTimeLine() <= timeline))
		forbid_following();
	run->phase = RUN_FORWARD;
	run->sentence[0] = '\0';
	run->ordered = true;
	ereport(LOG, (errmsg("taking over run " INT64_FORMAT " as the new primary", run->id)));
}

/* ---- asking ---- */

static void
ask_job(void)
{
	char		path[256];

	snprintf(path, sizeof(path), "/v1/jobs/%s/%d.promote.%s?wait_ms=1000", run->key, run_promote_step(run)->ordinal, run->target);
	run->ask = agents_get(job_url(run, run->target), path, 6000);
}

/* The answer to a server out of recovery is "promoted", or that the agent does not know; nothing is burned by it. */
static void
ask_token(void)
{
	char		key[64];

	run->token_asked = true;
	agents_release(run->ask);
	snprintf(key, sizeof(key), "baton:%d:%d", MyProcPid, ++run->asks);
	run->ask = agents_post(job_url(run, run->target), "/v1/jobs",
						   job_request(run, key, "token.burn", json_new(), 2000), 6000);
}

/* Why the last answer decides nothing, in one line. */
static const char *
undecided(void)
{
	json_t	   *result = job_result(run->ask->body);

	if (run->ask->status != 200)
		return run->ask->status == 404 ? "it does not know the job" : call_problem(run->ask);
	if (json_text(result, "reason")[0])
		return json_text(result, "reason");
	return json_text(result, "verdict")[0] ? json_text(result, "verdict") : json_text(run->ask->body, "state");
}

/* Says what it waits for, and ends the run when that has lasted too long, or when an operator gives it up. */
static void
wait_on(void)
{
	bool		cancelled = mailbox_cancel_wanted(run->id);

	if (run->unheard == 0)
		run->unheard = now_us();
	snprintf(run->sentence, sizeof(run->sentence), "promoted, but the agent of \"%s\" does not say whether by this run (%s)%s",
			 run->target, undecided(), cancelled ? "; given up by pingpong.cancel()" : "");
	run_publish();
	if (!run->told_waiting && now_us() - run->unheard > TELL_US)
	{
		ereport(LOG, (errmsg("run " INT64_FORMAT ": %s", run->id, run->sentence)));
		run->told_waiting = true;
	}
	if (cancelled || now_us() - run->unheard >= worker_rejoin_timeout * INT64CONST(1000))
		finish_run("stuck");
}

static void
not_ours(const char *reason)
{
	snprintf(run->sentence, sizeof(run->sentence),
			 "This server was promoted, but not by this run%s%s. Make sure that \"%s\" takes no writes before you repoint anything.",
			 reason[0] ? ": " : "", reason, run->source);
	finish_run("stuck");
}

/* True: the run is decided. */
static bool
judge_job(void)
{
	json_t	   *job = run->ask->body;
	json_t	   *result = job_result(job);

	if (strcmp(json_text(job, "state"), "succeeded") != 0 && strcmp(json_text(result, "verdict"), "promoted") != 0)
		return false;
	take_over(result, json_number_value(json_object_get(job, "received_ms")), json_number_value(json_object_get(job, "elapsed_ms")));
	return true;
}

static bool
judge_token(void)
{
	json_t	   *result = job_result(run->ask->body);
	const char *verdict = json_text(result, "verdict");
	double		ordered = json_number_value(json_object_get(result, "ordered_ms"));
	double		promoted = json_number_value(json_object_get(result, "promoted_ms"));

	if (strcmp(verdict, "promoted") == 0 && json_is_true(json_object_get(result, "ordered")))
		take_over(result, ordered, promoted > 0 ? promoted - ordered : 0);
	else if (strcmp(verdict, "promoted") == 0 || strcmp(verdict, "burned") == 0 || strcmp(verdict, "unknown") == 0)
		not_ours(json_text(result, "reason"));
	else
		return false;
	return true;
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

long
takeover_advance(void)
{
	MemoryContext old;
	bool		decided;

	if (run->ask == NULL)
	{
		if (now_us() < run->ask_at)
			return 10;
		ask_job();
		return 1;
	}
	if (!run->ask->done)
		return 5;
	old = MemoryContextSwitchTo(run_context);
	decided = run->token_asked ? judge_token() : judge_job();
	MemoryContextSwitchTo(old);
	if (run && !decided)
		wait_on();
	if (run == NULL)
		return 0;				/* it was not ours, or nobody can say */
	if (decided || run->token_asked || strcmp(json_text(run->ask->body, "state"), "running") == 0 || run->ask->body == NULL)
		begin_anew();
	else
		ask_token();
	return decided ? 0 : 1;
}
