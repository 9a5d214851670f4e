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
job_clear_error(JobError *error)
{
	free(error->message);
	free(error->detail);
	free(error->hint);
	memset(error, 0, sizeof(*error));
}

void
job_copy_error(JobError *to, const JobError *from)
{
	job_clear_error(to);
	memcpy(to->code, from->code, sizeof(to->code));
	to->message = from->message ? xstrdup(from->message) : NULL;
	to->detail = from->detail ? xstrdup(from->detail) : NULL;
	to->hint = from->hint ? xstrdup(from->hint) : NULL;
}

void
job_free(Job *job)
{
	for (size_t i = 0; i < job->nparts; i++)
	{
		json_decref(job->parts[i].result);
		job_clear_error(&job->parts[i].error);
		job_clear_error(&job->parts[i].undo_error);
	}
	free(job->parts);
	job_clear_error(&job->error);
	json_decref(job->actions);
	json_decref(job->undoes);
	free(job->progress);
	free(job->output);
	pthread_cond_destroy(&job->changed);
	free(job);
}

Job *
job_new(const char *run, const char *step, json_t *actions)
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
	job->actions = json_deep_copy(actions);
	job->nparts = json_array_size(job->actions);
	job->parts = xalloc((job->nparts + 1) * sizeof(JobPart));
	return job;
}

JobPart *
job_failed_part(Job *job)
{
	for (size_t i = 0; i < job->nparts; i++)
		if (job->parts[i].state >= PART_FAILED)
			return &job->parts[i];
	return NULL;
}
