/*
 * baton.c - the promoted target takes the run over from the journal.
 */
#include "postgres.h"

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
 * Did the order of this run promote us? A job that failed because the server
 * took too long to obey says so too: its token was at "promoting".
 */
static bool
promoted_by(json_t *job)
{
	const char *state = json_string_value(json_object_get(job, "state"));
	const char *verdict = json_string_value(json_object_get(job_result(job), "verdict"));

	if (state == NULL || strcmp(state, "running") == 0)
		return false;
	return strcmp(state, "succeeded") == 0 ||
		(verdict && (strcmp(verdict, "promoted") == 0 || strcmp(verdict, "promoting") == 0));
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
	const char *state;
	MemoryContext old;

	if (run->ask == NULL)
	{
		if (GetCurrentTimestamp() < run->ask_at)
			return 10;
		snprintf(path, sizeof(path), "/v1/jobs/%s/70.promote.%s?wait_ms=1000", run->key, run->target);
		run->ask = agents_get(job_url(run, run->target), path, 6000);
		return 1;
	}
	if (!run->ask->done)
		return 5;
	state = json_string_value(json_object_get(run->ask->body, "state"));
	old = MemoryContextSwitchTo(run_context);
	if (promoted_by(run->ask->body))
	{
		take_timeline(run->ask->body);
		run->phase = RUN_FORWARD;
		run->ordered = true;
		ereport(LOG, (errmsg("taking over run " INT64_FORMAT " as the new primary", run->id)));
	}
	else if (run->ask->status == 404 || (state && strcmp(state, "running") != 0))
	{
		snprintf(run->sentence, sizeof(run->sentence),
				 "This server was promoted, but not by this run. Make sure that \"%s\" takes no writes before you repoint anything.",
				 run->source);
		MemoryContextSwitchTo(old);
		run_finish("stuck");
		return 0;
	}
	MemoryContextSwitchTo(old);
	agents_release(run->ask);
	run->ask = NULL;
	run->ask_at = GetCurrentTimestamp() + ASK_US;
	return 0;
}
