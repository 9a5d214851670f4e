/*
 * rows.c
 *		Which run is meant, and its steps as rows: pure functions of the jobs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/status/rows.h"
#include "common/protocol.h"

static double
number_of(json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static bool
is_state(json_t *object, const char *state)
{
	return strcmp(protocol_text(object, "state"), state) == 0;
}

/* ---- which run ---- */

/*
 * Questions come under the keys of runs, too, and belong to no step. A job without actions is one that never came: it
 * was undone before.
 */
static bool
does_steps(json_t *job)
{
	json_t	   *actions = json_object_get(job, "actions");

	if (protocol_question(protocol_text(job, "run"), protocol_text(job, "step")) != QUESTION_NONE)
		return false;
	return json_array_size(actions) > 1 ||
		(json_array_size(actions) == 1 &&
		 strcmp(protocol_text(json_array_get(actions, 0), "action"), ACTION_FACTS) != 0);
}

static json_t *
latest(json_t *jobs)
{
	for (size_t i = json_array_size(jobs); i-- > 0;)
		if (does_steps(json_array_get(jobs, i)))
			return json_array_get(jobs, i);
	return NULL;
}

static bool
has_number(json_t *job, const char *wanted)
{
	char		number[32];

	snprintf(number, sizeof(number), "%lld", (long long) number_of(job, "number"));
	return number_of(job, "number") > 0 && strcmp(number, wanted) == 0;
}

static const char *
not_known(json_t *jobs, const char *wanted, char *error, size_t error_size)
{
	json_t	   *job = latest(jobs);
	long long	number = (long long) number_of(job, "number");

	if (!job && !wanted)
		snprintf(error, error_size, "no run has ordered anything here");
	else if (!job)
		snprintf(error, error_size, "run \"%s\" has ordered nothing here, nor has any other", wanted);
	else if (number > 0)
		snprintf(error, error_size, "run \"%s\" has ordered nothing here; the latest one that has is %lld (%s)",
				 wanted, number, protocol_text(job, "run"));
	else
		snprintf(error, error_size, "run \"%s\" has ordered nothing here; the latest one that has is %s", wanted,
				 protocol_text(job, "run"));
	return NULL;
}

const char *
rows_pick(json_t *jobs, const char *wanted, char *error, size_t error_size)
{
	const char *found = NULL;
	json_t	   *job;
	size_t		i;

	if (!wanted)
		return latest(jobs) ? protocol_text(latest(jobs), "run") : not_known(jobs, wanted, error, error_size);
	json_array_foreach(jobs, i, job)
		if (does_steps(job) && strcmp(protocol_text(job, "run"), wanted) == 0)
			return protocol_text(job, "run");
	json_array_foreach(jobs, i, job)
	{
		const char *run = protocol_text(job, "run");

		if (!does_steps(job) || !has_number(job, wanted))
			continue;
		if (found && strcmp(found, run) != 0)
		{
			/* behind a rollback the old server counts on from where it was */
			snprintf(error, error_size, "more than one run %s has ordered something here: give its key, such as %s "
					 "or %s", wanted, found, run);
			return NULL;
		}
		found = run;
	}
	return found ? found : not_known(jobs, wanted, error, error_size);
}

long long
rows_number(json_t *jobs)
{
	json_t	   *job;
	size_t		i;

	json_array_foreach(jobs, i, job)
		if (number_of(job, "number") > 0)
			return (long long) number_of(job, "number");
	return 0;
}

/* ---- rows ---- */

/* How long that action took, if it did its work to the end; < 0: it did not. */
static double
took_whole(json_t *part)
{
	json_t	   *took = json_object_get(part, "took_ms");

	return json_is_number(took) && !protocol_error(part) ? json_number_value(took) : -1;
}

static double
last_time(json_t *all, json_t *job, const char *action)
{
	for (size_t i = json_array_size(all); i-- > 0;)
	{
		json_t	   *other = json_array_get(all, i);
		json_t	   *part;
		size_t		k;

		if (number_of(other, "received_ms") >= number_of(job, "received_ms"))
			continue;
		json_array_foreach(json_object_get(other, "actions"), k, part)
			if (strcmp(protocol_text(part, "action"), action) == 0 && took_whole(part) >= 0)
				return took_whole(part);
	}
	return -1;
}

/* part: NULL for the job as a whole. */
static void
name_row(Row *row, json_t *job, json_t *part)
{
	const char *key = protocol_text(part, "step");
	StepKey		read;

	if (!*key)
		key = protocol_text(job, "step");
	if (protocol_read_step_key(key, &read))
	{
		snprintf(row->step, sizeof(row->step), "%s", read.action);
		snprintf(row->node, sizeof(row->node), "%s", read.node);
		return;
	}
	snprintf(row->step, sizeof(row->step), "%s", protocol_text(part, "action"));
	snprintf(row->node, sizeof(row->node), "%s", key);
}

static void
take_progress(Row *row, json_t *job)
{
	json_t	   *progress = json_object_get(job, "progress");
	json_t	   *percent = json_object_get(progress, "percent");

	row->progress = protocol_text(progress, "text");
	row->percent = json_is_number(percent) ? json_number_value(percent) : -1;
}

static json_t *
error_of(json_t *part)
{
	json_t	   *undo_error = json_object_get(part, "undo_error");

	return json_is_object(undo_error) ? undo_error : protocol_error(part);
}

/*
 * The action that the job is at; NULL: it has ended, goes back, or waits. The journal knows of an action when it has
 * ended, so there it is the first that has not.
 */
static json_t *
present_part(json_t *job, bool old)
{
	json_t	   *part;
	size_t		i;

	if (!is_state(job, JOB_STATE_RUNNING))
		return NULL;
	json_array_foreach(json_object_get(job, "actions"), i, part)
	{
		if (error_of(part))
			return NULL;
		if (is_state(part, "running") || (old && is_state(part, "pending")))
			return part;
	}
	return NULL;
}

static void
make_row(Row *row, json_t *job, json_t *part, json_t *all, bool old)
{
	bool		runs = part == present_part(job, old);

	name_row(row, job, part);
	row->state = runs && old ? "was running" : protocol_text(part, "state");
	row->ms = number_of(part, "took_ms") > 0 ? number_of(part, "took_ms") : -1; /* 0: it died with the agent */
	row->last_ms = last_time(all, job, protocol_text(part, "action"));
	row->percent = -1;
	row->progress = "";
	row->error = error_of(part);
	if (!runs || old)
		return;
	row->ms = number_of(job, "clock_ms") - number_of(part, "began_ms");
	take_progress(row, job);
}

static bool
any_error(json_t *job)
{
	json_t	   *part;
	size_t		i;

	json_array_foreach(json_object_get(job, "actions"), i, part)
		if (error_of(part))
			return true;
	return false;
}

static bool
has_begun(json_t *job)
{
	return !is_state(json_array_get(json_object_get(job, "actions"), 0), "pending");
}

/*
 * A row of the job as a whole, for what no row of an action says: that it goes back, or waits to begin, and an error
 * that belongs to none of them. False: there is nothing to say.
 */
static bool
make_job_row(Row *row, json_t *job, bool old)
{
	bool		runs = is_state(job, JOB_STATE_RUNNING);
	bool		cancelled = json_is_true(json_object_get(job, "cancel")) && !present_part(job, old);
	bool		goes_back = runs && (any_error(job) || cancelled);

	memset(row, 0, sizeof(*row));
	row->progress = "";
	row->ms = row->last_ms = row->percent = -1;
	name_row(row, job, NULL);
	snprintf(row->step, sizeof(row->step), "%s", goes_back ? "(going back)" : "(job)");
	if (runs)
	{
		row->state = old ? "was running" : "running";
		if (!old)
			take_progress(row, job);
		return goes_back || (!has_begun(job) && !present_part(job, old));
	}
	row->state = protocol_text(job, "state");
	row->error = protocol_error(job);
	return row->error && !any_error(job);
}

Row *
rows_make(json_t *jobs, json_t *all, bool old, int *n)
{
	Row		   *rows = NULL;
	json_t	   *job;
	json_t	   *part;
	size_t		i;
	size_t		k;

	*n = 0;
	json_array_foreach(jobs, i, job)
	{
		json_t	   *parts = json_object_get(job, "actions");

		if (!does_steps(job))
			continue;
		rows = xrealloc(rows, (*n + json_array_size(parts) + 1) * sizeof(Row));
		json_array_foreach(parts, k, part)
			make_row(&rows[(*n)++], job, part, all, old);
		if (make_job_row(&rows[*n], job, old))
			(*n)++;
	}
	return rows;
}

RowsEnd
rows_end(json_t *jobs)
{
	RowsEnd		end = {0};
	json_t	   *job;
	size_t		i;

	json_array_foreach(jobs, i, job)
	{
		double		ended = number_of(job, "received_ms") + number_of(job, "elapsed_ms");

		if (!does_steps(job))
			continue;
		end.jobs++;
		if (is_state(job, JOB_STATE_SUCCEEDED) || is_state(job, JOB_STATE_FAILED) ||
			is_state(job, JOB_STATE_CANCELLED))
			end.ended_ms = ended > end.ended_ms ? ended : end.ended_ms;
		else
			end.running++;
		end.failed += is_state(job, JOB_STATE_FAILED) || is_state(job, JOB_STATE_CANCELLED);
	}
	return end;
}
