/*
 * job.c
 *		A job: an ordered list of actions under a key (run, step), executed once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/job/job.h"

pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;

void
job_clear_error(Job *job)
{
	free(job->error.message);
	free(job->error.detail);
	free(job->error.hint);
	memset(&job->error, 0, sizeof(job->error));
}

void
job_free(Job *job)
{
	job_clear_error(job);
	json_decref(job->actions);
	json_decref(job->results);
	free(job->progress);
	free(job->output);
	pthread_cond_destroy(&job->changed);
	free(job);
}

Job *
job_new(const char *run, const char *step)
{
	Job		   *job = xalloc(sizeof(Job));
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&job->changed, &attr);
	pthread_condattr_destroy(&attr);
	snprintf(job->run, sizeof(job->run), "%s", run);
	snprintf(job->step, sizeof(job->step), "%s", step);
	job->percent = -1;
	job->results = json_array();
	return job;
}
