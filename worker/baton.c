/*
 * baton.c - the promoted target takes the run over from the journal.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "gate/gate.h"
#include "worker/journal.h"
#include "worker/runner.h"

#define ASK_US			(100 * 1000)

static void
take_timeline(json_t *promote)
{
	json_t	   *result = job_result(promote);
	json_t	   *timeline = json_object_get(result, "timeline");
	double		received = json_number_value(json_object_get(promote, "received_ms"));
	double		elapsed = json_number_value(json_object_get(timeline, "elapsed_ms"));
	TimestampTz began = (TimestampTz) ((received - elapsed) * 1000) -
		((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	const char *lsn = json_string_value(json_object_get(timeline, "seal_lsn"));
	uint32		hi,
				lo;
	size_t		i;
	json_t	   *was;

	if (lsn && sscanf(lsn, "%X/%X", &hi, &lo) == 2)
		run->seal_lsn = ((uint64) hi << 32) | lo;
	json_array_foreach(json_object_get(timeline, "steps"), i, was)
		for (int s = 0; s < run->nsteps; s++)
		{
			Step	   *step = &run->steps[s];

			if (step->ordinal != json_integer_value(json_object_get(was, "ordinal")) ||
				strcmp(step->name, json_string_value(json_object_get(was, "action"))) != 0 ||
				strcmp(step->subject, json_string_value(json_object_get(was, "node"))) != 0)
				continue;
			step->state = STEP_SUCCEEDED;
			step->attempt = 1;
			step->ms = json_number_value(json_object_get(was, "ms"));
			step->started = began + (TimestampTz) (json_number_value(json_object_get(was, "offset_ms")) * 1000);
			step->ended = step->started + (TimestampTz) (step->ms * 1000);
			strlcpy(step->message, json_string_value(json_object_get(was, "message")), sizeof(step->message));
		}
	for (int s = 0; s < run->nsteps; s++)
		if (strcmp(run->steps[s].name, "promote") == 0)
		{
			run->steps[s].state = STEP_SUCCEEDED;
			run->steps[s].attempt = 1;
			run->steps[s].started = began + (TimestampTz) (elapsed * 1000);
			run->steps[s].ms = json_number_value(json_object_get(promote, "elapsed_ms"));
			run->steps[s].ended = run->steps[s].started + (TimestampTz) (run->steps[s].ms * 1000);
		}
	/* the clock of the blackout goes on here, from where the old primary's stood */
	if (run->blackout_ms < 0)
	{
		INSTR_TIME_SET_CURRENT(run->blackout_began);
		run->blackout = true;
		run->elapsed_ms = (GetCurrentTimestamp() - began) / 1000.0;
	}
}

/*
 * The job has failed because the server took too long to obey. Only the token
 * knows what came of it: had it been burned since, the old primary may be open
 * and somebody else has promoted us.
 */
static bool
obeyed_late(json_t *job)
{
	const char *state = json_string_value(json_object_get(job, "state"));
	const char *verdict = json_string_value(json_object_get(job_result(job), "verdict"));

	return state && strcmp(state, "failed") == 0 && verdict && strcmp(verdict, "promoting") == 0;
}

static void
ask_token(void)
{
	char		key[64];

	run->late_job = json_incref(run->ask->body);
	agents_release(run->ask);
	snprintf(key, sizeof(key), "baton:%d:%d", MyProcPid, ++run->asks);
	run->ask = agents_post(job_url(run, run->target), "/v1/jobs",
						   job_request(run, key, "token.burn", json_new(), 2000), 6000);
}

/* The job of the promotion if it was this run's, else NULL. */
static json_t *
promoting_job(void)
{
	json_t	   *body = run->ask->body;
	const char *state = json_string_value(json_object_get(body, "state"));
	const char *verdict = json_string_value(json_object_get(job_result(body), "verdict"));

	if (run->late_job)
		return verdict && strcmp(verdict, "promoted") == 0 ? run->late_job : NULL;
	return state && (strcmp(state, "succeeded") == 0 ||
					 (strcmp(state, "failed") == 0 && verdict && strcmp(verdict, "promoted") == 0)) ? body : NULL;
}

/* Says our agent plainly that it was not this run? */
static bool
not_ours(void)
{
	json_t	   *body = run->ask->body;
	const char *state = json_string_value(json_object_get(body, "state"));
	const char *verdict = json_string_value(json_object_get(job_result(body), "verdict"));

	if (run->late_job)
		return verdict && strcmp(verdict, "burned") == 0;
	return run->ask->status == 404 || (state && strcmp(state, "running") != 0);
}

/* Says what it waits for, and ends the run when that has lasted too long. */
static bool
heard_in_time(void)
{
	if (run->unheard == 0)
		run->unheard = GetCurrentTimestamp();
	if (run->ask->status == 200 || run->ask->status == 404)
	{
		run->unheard = 0;
		return true;
	}
	snprintf(run->sentence, sizeof(run->sentence),
			 "promoted, but the agent of \"%s\" does not say whether by this run (status %d%s%s)", run->target, run->ask->status,
			 run->ask->error[0] ? ", " : "", run->ask->error);
	run_publish();
	if (!run->told_waiting)
		ereport(LOG, (errmsg("run " INT64_FORMAT ": %s", run->id, run->sentence)));
	run->told_waiting = true;
	if (GetCurrentTimestamp() - run->unheard < worker_rejoin_timeout * INT64CONST(1000))
		return true;
	run_finish("stuck");
	return false;
}

/*
 * Our own agent says whether it was this run that promoted us. Without its
 * word nothing moves: somebody may have promoted us by hand, with the old
 * primary still writable.
 */
long
baton_advance(void)
{
	char		path[256];
	json_t	   *job;
	MemoryContext old;

	if (run->ask == NULL)
	{
		if (GetCurrentTimestamp() < run->ask_at)
			return 10;
		snprintf(path, sizeof(path), "/v1/jobs/%s/%d.promote.%s?wait_ms=1000", run->key, run_promote_step(run)->ordinal, run->target);
		run->ask = agents_get(job_url(run, run->target), path, 6000);
		return 1;
	}
	if (!run->ask->done)
		return 5;
	if (!heard_in_time())
		return 0;
	if (!run->late_job && obeyed_late(run->ask->body))
	{
		ask_token();
		return 1;
	}
	job = promoting_job();
	old = MemoryContextSwitchTo(run_context);
	if (job)
	{
		take_timeline(job);
		run->phase = RUN_FORWARD;
		run->ordered = true;
		ereport(LOG, (errmsg("taking over run " INT64_FORMAT " as the new primary", run->id)));
	}
	else if (not_ours())
	{
		snprintf(run->sentence, sizeof(run->sentence),
				 "This server was promoted, but not by this run. Make sure that \"%s\" takes no writes before you repoint anything.",
				 run->source);
		json_decref(run->late_job);
		run->late_job = NULL;
		MemoryContextSwitchTo(old);
		run_finish("stuck");
		return 0;
	}
	MemoryContextSwitchTo(old);
	agents_release(run->ask);
	run->ask = NULL;
	json_decref(run->late_job);
	run->late_job = NULL;		/* no answer: from the beginning */
	run->ask_at = GetCurrentTimestamp() + ASK_US;
	return 0;
}
