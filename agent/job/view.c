/*
 * view.c
 *		A job as JSON: for the front, and for the journal.  The caller holds jobs_lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/job/params.h"
#include "agent/job/view.h"
#include "common/names.h"
#include "common/sqlstate.h"

static const char *const state_names[] = {
	[JOB_RUNNING] = JOB_STATE_RUNNING,
	[JOB_SUCCEEDED] = JOB_STATE_SUCCEEDED,
	[JOB_FAILED] = JOB_STATE_FAILED,
	[JOB_CANCELLED] = JOB_STATE_CANCELLED,
};

const char *
jobview_state(JobState state)
{
	return state_names[state];
}

void
jobview_output_add(Job *job, const char *data, size_t size)
{
	if (!job->output)
		job->output = xalloc(PINGPONG_OUTPUT_MAX);
	for (size_t i = 0; i < size; i++)
		job->output[job->output_total++ % PINGPONG_OUTPUT_MAX] = data[i];
}

/* Output may be anything; what is not printable ASCII becomes a question mark. */
static json_t *
output_json(const Job *job)
{
	size_t		size = job->output_total < PINGPONG_OUTPUT_MAX ? job->output_total : PINGPONG_OUTPUT_MAX;
	char	   *text = xalloc(size + 1);
	json_t	   *value;

	for (size_t i = 0; i < size; i++)
	{
		char		c = job->output[(job->output_total - size + i) % PINGPONG_OUTPUT_MAX];

		text[i] = (c >= ' ' && c < 127) || c == '\n' || c == '\t' ? c : '?';
	}
	value = json_stringn(text, size);
	free(text);
	return value;
}

static json_t *
text_or_null(const char *text)
{
	json_t	   *value = text ? json_string(text) : NULL;

	if (text && !value)			/* a server's message need not be UTF-8 */
		value = json_string("(text in another encoding)");
	return value ? value : json_null();
}

static json_t *
error_json(const JobError *error)
{
	if (!error->message)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:o}", "code", error->code, "message", text_or_null(error->message),
					 "detail", text_or_null(error->detail), "hint", text_or_null(error->hint));
}

static const char *const part_states[] = {
	[PART_PENDING] = "pending",
	[PART_RUNNING] = "running",
	[PART_SUCCEEDED] = "succeeded",
	[PART_FAILED] = "failed",
	[PART_UNDONE] = "undone",
	[PART_NOT_UNDONE] = "not undone",
};

/* What became of one action; an action that tries another way has an error only for the time being. */
static json_t *
part_json(const Job *job, size_t i)
{
	const JobPart *part = &job->parts[i];
	json_t	   *ordered = json_array_get(job->actions, i);
	json_t	   *view = json_object();

	if (json_object_get(ordered, "step"))	/* whatever the caller calls it */
		json_object_set(view, "step", json_object_get(ordered, "step"));
	json_object_set_new(view, "action", json_string(param_string(ordered, "action", "")));
	json_object_set_new(view, "state", json_string(part_states[part->state]));
	if (part->began_ms > 0)
		json_object_set_new(view, "began_ms", json_real(part->began_ms));
	if (part->state > PART_RUNNING)
		json_object_set_new(view, "took_ms", json_real(part->took_ms));
	if (part->result)
		json_object_set(view, "result", part->result);
	if (part->state >= PART_FAILED)
		json_object_set_new(view, "error", error_json(&part->error));
	if (part->state == PART_NOT_UNDONE)
		json_object_set_new(view, "undo_error", error_json(&part->undo_error));
	return view;
}

static json_t *
parts_json(const Job *job)
{
	json_t	   *views = json_array();

	for (size_t i = 0; i < job->nparts; i++)
		json_array_append_new(views, part_json(job, i));
	return views;
}

static json_t *
results_json(const Job *job)
{
	json_t	   *results = json_array();

	for (size_t i = 0; i < job->nparts; i++)
		if (job->parts[i].result)
			json_array_append(results, job->parts[i].result);
	return results;
}

json_t *
jobview_json(const Job *job, bool with_output)
{
	double		elapsed = job->state == JOB_RUNNING ? clock_monotonic_ms() - job->started_ms : job->elapsed_ms;
	json_t	   *view = json_object();

	json_object_set_new(view, "run", json_string(job->run));
	json_object_set_new(view, "step", json_string(job->step));
	if (job->number > 0)
		json_object_set_new(view, "number", json_integer(job->number));
	json_object_set_new(view, "epoch", json_integer(job->epoch));
	json_object_set_new(view, "state", json_string(jobview_state(job->state)));
	json_object_set_new(view, "clock_ms", json_real(clock_realtime_ms()));
	json_object_set_new(view, "received_ms", json_real(job->received_ms));
	json_object_set_new(view, "elapsed_ms", json_real(elapsed));
	json_object_set_new(view, "progress", json_pack("{s:o, s:o}", "text", text_or_null(job->progress),
													"percent",
													job->percent < 0 ? json_null() : json_real(job->percent)));
	json_object_set_new(view, "actions", parts_json(job));
	json_object_set_new(view, "results", results_json(job));
	if (job->cancel)
		json_object_set_new(view, "cancel", json_true());
	if (with_output)
		json_object_set_new(view, "output", output_json(job));
	/* an action that tries another way has an error only for the time being */
	json_object_set_new(view, "error", job->state == JOB_RUNNING ? json_null() : error_json(&job->error));
	return view;
}

void
jobview_shorten(json_t *view)
{
	static const char *const large[] = {"results", "output", "order", "undoes"};
	json_t	   *part;
	size_t		i;

	for (i = 0; i < sizeof(large) / sizeof(large[0]); i++)
		json_object_del(view, large[i]);
	json_array_foreach(json_object_get(view, "actions"), i, part)
		json_object_del(part, "result");
}

json_t *
jobview_record(const Job *job)
{
	json_t	   *record = jobview_json(job, true);

	json_object_set_new(record, "error", error_json(&job->error));
	json_object_set(record, "order", job->actions);
	if (job->undoes)
		json_object_set(record, "undoes", job->undoes);
	return record;
}

static void
restore_error(JobError *error, json_t *value)
{
	const char *message = param_string(value, "message", NULL);
	const char *detail = param_string(value, "detail", NULL);
	const char *hint = param_string(value, "hint", NULL);

	if (!message)
		return;
	snprintf(error->code, sizeof(error->code), "%.5s", param_string(value, "code", STATE_INTERNAL_ERROR));
	error->message = xstrdup(message);
	error->detail = detail ? xstrdup(detail) : NULL;
	error->hint = hint ? xstrdup(hint) : NULL;
}

static void
restore_part(JobPart *part, json_t *view)
{
	const char *state = param_string(view, "state", "");

	for (PartState i = PART_PENDING; i <= PART_NOT_UNDONE; i++)
		if (strcmp(state, part_states[i]) == 0)
			part->state = i;
	part->began_ms = json_number_value(json_object_get(view, "began_ms"));
	part->took_ms = json_number_value(json_object_get(view, "took_ms"));
	if (json_is_object(json_object_get(view, "result")))
		part->result = json_deep_copy(json_object_get(view, "result"));
	restore_error(&part->error, json_object_get(view, "error"));
	restore_error(&part->undo_error, json_object_get(view, "undo_error"));
}

/* Of a record that an agent without parts has written: an action that has a result was done. */
static void
restore_results(Job *job, json_t *results)
{
	for (size_t i = 0; i < job->nparts && i < json_array_size(results); i++)
	{
		job->parts[i].state = PART_SUCCEEDED;
		job->parts[i].result = json_deep_copy(json_array_get(results, i));
	}
}

json_t *
jobview_order(json_t *record)
{
	json_t	   *order = json_object_get(record, "order");

	return order ? order : json_object_get(record, "actions");
}

void
jobview_restore(Job *job, json_t *record)
{
	const char *state = param_string(record, "state", "");
	const char *output = param_string(record, "output", "");
	const char *progress = param_string(json_object_get(record, "progress"), "text", NULL);

	job->epoch = param_int(record, "epoch", 0);
	job->number = param_int(record, "number", 0);
	job->received_ms = json_number_value(json_object_get(record, "received_ms"));
	job->elapsed_ms = json_number_value(json_object_get(record, "elapsed_ms"));
	job->cancel = param_bool(record, "cancel", false);
	job->undoes = json_incref(json_object_get(record, "undoes"));
	for (size_t i = 0; i < job->nparts && json_object_get(record, "order"); i++)
		restore_part(&job->parts[i], json_array_get(json_object_get(record, "actions"), i));
	if (!json_object_get(record, "order"))
		restore_results(job, json_object_get(record, "results"));
	for (JobState i = JOB_RUNNING; i <= JOB_CANCELLED; i++)
		if (strcmp(state, state_names[i]) == 0)
			job->state = i;
	if (progress)
		job->progress = xstrdup(progress);
	if (job->state != JOB_RUNNING || job_failed_part(job))	/* ended, or going back because of it */
		restore_error(&job->error, json_object_get(record, "error"));
	jobview_output_add(job, output, strlen(output));
}
