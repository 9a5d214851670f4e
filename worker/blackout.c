/*
 * blackout.c - the measurement of a blackout: since when clients cannot write, and what was done meanwhile. The old
 * primary measures, the worker of the new primary stores it.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/job.h"

/* Milliseconds since writes stopped, 0 if they have not. */
double
run_blackout_so_far(Run *run)
{
	return run->blackout ? ms_since(run->blackout_began) : 0;
}

/* What was done while writes were stopped, in ms after the beginning of that; for the worker that cannot know it. */
json_t *
blackout_steps(Run *run)
{
	json_t	   *steps = json_array();

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *s = &run->steps[i];
		instr_time	offset = s->clock;

		INSTR_TIME_SUBTRACT(offset, run->blackout_began);
		if (s->state != STEP_SUCCEEDED || !s->mine || INSTR_TIME_GET_MILLISEC(offset) < 0)
			continue;
		json_array_append_new(steps,
							  json_pack("{s:i, s:s, s:s, s:f, s:f, s:s}", "ordinal", s->ordinal, "action", s->name,
										"node", s->node, "offset_ms",
										run->elapsed_ms + INSTR_TIME_GET_MILLISEC(offset), "ms", s->ms, "message",
										s->message));
	}
	return steps;
}

/* ---- what the old primary measured ---- */

static Step *
step_of(json_t *was)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->ordinal == json_integer_value(json_object_get(was, "ordinal")) &&
			strcmp(step->name, protocol_text(was, "action")) == 0 &&
			strcmp(step->node, protocol_text(was, "node")) == 0)
			return step;
	}
	return NULL;
}

/* Its steps of the blackout, also those after its last entry in the journal. */
void
blackout_take_steps(json_t *timeline)
{
	size_t		i;
	json_t	   *was;

	json_array_foreach(json_object_get(timeline, "steps"), i, was)
	{
		Step	   *step = step_of(was);

		if (step == NULL)
			continue;
		step->state = STEP_SUCCEEDED;
		step->attempt = 1;
		step->round = 1;
		step->ms = json_number_value(json_object_get(was, "ms"));
		step->started = run->blackout_at +
			(TimestampTz) (json_number_value(json_object_get(was, "offset_ms")) * 1000);
		step->ended = step->started + (TimestampTz) (step->ms * 1000);
		strlcpy(step->message, protocol_text(was, "message"), sizeof(step->message));
	}
}

/* The old primary's measurement of the blackout, if it reached our agent. True when asked. */
bool
blackout_fetch(void)
{
	char		path[256];
	json_t	   *ms;

	if (run->noted)
		return true;
	if (run->ask == NULL)
	{
		protocol_job_path(path, sizeof(path), run->key, NOTE_STEP, 0);
		run->ask = agents_get(job_url(run, run->target), path, 1000);
		return false;
	}
	if (!run->ask->done)
		return false;
	run->noted = true;
	blackout_take_steps(protocol_result(run->ask->body, 0));
	ms = json_object_get(protocol_result(run->ask->body, 0), "blackout_ms");
	if (json_is_number(ms) && json_number_value(ms) >= 0)
		run->blackout_ms = json_number_value(ms);
	return true;
}
