/*
 * jobs.c
 *		Requests about jobs: order one, ask for one, cancel one, list them.
 */
#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "agent/core/clock.h"
#include "agent/job/action.h"
#include "agent/job/epoch.h"
#include "agent/job/executor.h"
#include "agent/job/job.h"
#include "agent/job/jobs.h"
#include "agent/job/known.h"
#include "agent/job/params.h"
#include "agent/job/table.h"
#include "agent/job/view.h"
#include "common/names.h"

#define JOB_ACTIONS_MAX 32

static bool
actions_valid(json_t *actions, char *error, size_t error_size)
{
	size_t		i;
	json_t	   *action;

	if (!json_is_array(actions) || json_array_size(actions) == 0 || json_array_size(actions) > JOB_ACTIONS_MAX)
	{
		snprintf(error, error_size, "\"actions\" must be a list of 1 to %d actions", JOB_ACTIONS_MAX);
		return false;
	}
	json_array_foreach(actions, i, action)
	{
		const char *name = param_string(action, "action", NULL);
		json_t	   *params = json_object_get(action, "params");

		if (!name || !action_find(name))
			snprintf(error, error_size, "action %zu is not known to this agent", i + 1);
		else if (params && !json_is_object(params) && !json_is_null(params))
			snprintf(error, error_size, "\"params\" of action %zu is not an object", i + 1);
		else
			continue;
		return false;
	}
	return true;
}

static bool
request_valid(json_t *request, char *error, size_t error_size)
{
	json_t	   *epoch = json_object_get(request, "epoch");

	if (!json_is_object(request))
		snprintf(error, error_size, "the request is not a JSON object");
	else if (!pingpong_key_valid(param_string(request, "run", NULL)) ||
			 !pingpong_key_valid(param_string(request, "step", NULL)))
		snprintf(error, error_size, "\"run\" and \"step\" must be 1 to %d characters of [A-Za-z0-9._#:-], "
				 "no leading dot", PINGPONG_KEY_MAX);
	else if (!json_is_integer(epoch) || json_integer_value(epoch) < 0)
		snprintf(error, error_size, "\"epoch\" must be a number");
	else
		return actions_valid(json_object_get(request, "actions"), error, error_size);
	return false;
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
create_job(json_t *request)
{
	Job		   *job = job_new(param_string(request, "run", ""), param_string(request, "step", ""));

	job->epoch = param_int(request, "epoch", 0);
	job->received_ms = clock_realtime_ms();
	job->actions = json_deep_copy(json_object_get(request, "actions"));
	job_insert(job);
	job_begin(job);
	return job;
}

JobAnswer
jobs_post(json_t *request, json_t **answer, char *error, size_t error_size)
{
	JobAnswer	rc = JOB_OK;
	Job		   *job;

	if (!request_valid(request, error, error_size))
		return JOB_BAD_REQUEST;
	pthread_mutex_lock(&jobs_lock);
	job = job_find(param_string(request, "run", ""), param_string(request, "step", ""));
	if (!job && jobs_shutting_down)
		rc = JOB_SHUTDOWN;
	else if (!job && param_int(request, "epoch", 0) < epoch_current() &&
			 !(action_flags_of(json_object_get(request, "actions")) & ACTION_ANY_EPOCH))
		rc = JOB_OLD_EPOCH;
	else
	{
		if (!job)
			job = create_job(request);
		wait_for_end(job, param_int(request, "wait_ms", 0));
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

json_t *
jobs_list(void)
{
	json_t	   *list = json_array();

	pthread_mutex_lock(&jobs_lock);
	for (Job *job = job_table; job; job = job->next)
		json_array_append_new(list, jobview_json(job, false));
	pthread_mutex_unlock(&jobs_lock);
	return list;
}
