/*
 * jobs.c
 *		Requests about jobs: order one, ask for one, cancel one, list them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/job/action.h"
#include "agent/job/epoch.h"
#include "agent/job/executor.h"
#include "agent/job/job.h"
#include "agent/job/jobs.h"
#include "agent/job/journal.h"
#include "agent/job/known.h"
#include "agent/job/params.h"
#include "agent/job/table.h"
#include "agent/job/view.h"
#include "common/protocol.h"
#include "common/sqlstate.h"

/* Whether this agent knows all that is ordered. */
static bool
actions_known(json_t *actions, char *error, size_t error_size)
{
	size_t		i;
	json_t	   *action;

	json_array_foreach(actions, i, action)
	{
		json_t	   *undo = json_object_get(action, "undo");

		if (action_find(protocol_text(action, "action")) && (!undo || action_find(protocol_text(undo, "action"))))
			continue;
		snprintf(error, error_size, "action %zu is not known to this agent", i + 1);
		return false;
	}
	return true;
}

/* Waits until the job ends; the lock is held. */
static void
wait_for_end(Job *job, int64_t wait_ms)
{
	struct timespec until;

	if (wait_ms <= 0)
		return;
	if (wait_ms > PINGPONG_WAIT_MAX_MS)
		wait_ms = PINGPONG_WAIT_MAX_MS;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += wait_ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	job->waiters++;
	while (job->state == JOB_RUNNING && !jobs_shutting_down)
		if (pthread_cond_timedwait(&job->changed, &jobs_lock, &until) == ETIMEDOUT)
			break;
	job->waiters--;
}

static Job *
create_job(const JobOrder *order)
{
	Job		   *job = job_new(order->run, order->step, order->actions);

	job->epoch = order->epoch;
	job->number = order->number;
	job->received_ms = clock_realtime_ms();
	job->undoes = order->undoes ? json_deep_copy(order->undoes) : NULL;
	job_insert(job);
	job_begin(job);
	return job;
}

JobAnswer
jobs_post(json_t *request, json_t **answer, char *error, size_t error_size)
{
	JobAnswer	rc = JOB_OK;
	JobOrder	order;
	Job		   *job;

	if (!protocol_read_job(request, &order, error, error_size) || !actions_known(order.actions, error, error_size))
		return JOB_BAD_REQUEST;
	pthread_mutex_lock(&jobs_lock);
	job = job_find(order.run, order.step);
	if (!job && jobs_shutting_down)
		rc = JOB_SHUTDOWN;
	else if (!job && order.epoch < epoch_current() &&
			 !(action_flags_of(order.actions) & ACTION_ANY_EPOCH))
		rc = JOB_OLD_EPOCH;
	else
	{
		if (!job)
			job = create_job(&order);
		wait_for_end(job, order.wait_ms);
		*answer = jobview_json(job, true);
	}
	pthread_mutex_unlock(&jobs_lock);
	return rc;
}

JobAnswer
jobs_get(const char *run, const char *step, int64_t wait_ms, json_t **answer)
{
	Job		   *job;

	pthread_mutex_lock(&jobs_lock);
	job = job_find(run, step);
	if (job)
	{
		wait_for_end(job, wait_ms);
		*answer = jobview_json(job, true);
	}
	pthread_mutex_unlock(&jobs_lock);
	return job ? JOB_OK : JOB_UNKNOWN;
}

JobAnswer
jobs_cancel(const char *run, const char *step, json_t **answer)
{
	Job		   *job;

	pthread_mutex_lock(&jobs_lock);
	job = job_find(run, step);
	if (job)
	{
		if (job->state == JOB_RUNNING)
			job->cancel = true;
		*answer = jobview_json(job, true);
	}
	pthread_mutex_unlock(&jobs_lock);
	return job ? JOB_OK : JOB_UNKNOWN;
}

/* The lock is held. */
static Job *
find_with_action(const char *run, const char *action)
{
	for (Job *job = job_table; job; job = job->next)
		for (size_t i = 0; i < job->nparts && strcmp(job->run, run) == 0; i++)
			if (strcmp(protocol_text(json_array_get(job->actions, i), "action"), action) == 0)
				return job;
	return NULL;
}

static void
mark_undone(Job *job, const char *why)
{
	for (size_t i = 0; i < job->nparts; i++)
		job->parts[i].state = PART_UNDONE;
	job_clear_error(&job->error);
	snprintf(job->error.code, sizeof(job->error.code), "%s", STATE_CANCELED);
	job->error.message = xstrdup(why);
	job->state = JOB_FAILED;
}

int
jobs_retract(const AgentConfig *config, const char *run, const char *action, const char *why)
{
	json_t	   *record = NULL;
	Job		   *job;
	char		step[PINGPONG_KEY_MAX + 1];
	int			rc = 0;

	pthread_mutex_lock(&jobs_lock);
	job = find_with_action(run, action);
	if (job && job->state != JOB_RUNNING)
	{
		mark_undone(job, why);
		record = jobview_record(job);
		memcpy(step, job->step, sizeof(step));
	}
	pthread_mutex_unlock(&jobs_lock);
	if (record)
		rc = journal_write(config->state_dir, run, step, record, true);
	json_decref(record);
	return rc;
}

json_t *
jobs_list(const char *run, bool brief)
{
	json_t	   *list = json_array();

	pthread_mutex_lock(&jobs_lock);
	for (Job *job = job_table; job; job = job->next)
	{
		json_t	   *view;

		if (run && strcmp(job->run, run) != 0)
			continue;
		view = jobview_json(job, false);
		if (brief)
			jobview_shorten(view);
		json_array_append_new(list, view);
	}
	pthread_mutex_unlock(&jobs_lock);
	return list;
}
