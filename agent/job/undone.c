/*
 * undone.c
 *		What a job undoes: other jobs of its run.
 *
 * A run is undone when one of its steps has failed, and others of the same moment may still be under way, or their
 * orders on the way. What was undone before it was done would stay.
 */
#include <stdio.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/job/journal.h"
#include "agent/job/table.h"
#include "agent/job/undone.h"
#include "agent/job/view.h"
#include "common/sqlstate.h"

#define END_MS 3000
#define POLL_MS 2

static Job *
enter_cancelled(const Job *by, const char *step)
{
	json_t	   *nothing = json_array();
	Job		   *job = job_new(by->run, step, nothing);

	json_decref(nothing);
	job->epoch = by->epoch;
	job->received_ms = by->received_ms;
	job->cancel = true;
	job->state = JOB_CANCELLED;
	snprintf(job->error.code, sizeof(job->error.code), "%s", STATE_CANCELED);
	job->error.message = xstrdup("it was undone before the order came");
	job_insert(job);
	return job;
}

void
undone_cancel(Job *job)
{
	size_t		i;
	json_t	   *key;

	json_array_foreach(job->undoes, i, key)
	{
		Job		   *other = job_find(job->run, json_string_value(key));

		if (!other)
			enter_cancelled(job, json_string_value(key));
		else if (other->state == JOB_RUNNING && other != job)
			other->cancel = true;
	}
}

/* The lock is held. */
static bool
runs_still(const Job *job)
{
	size_t		i;
	json_t	   *key;

	json_array_foreach(job->undoes, i, key)
	{
		Job		   *other = job_find(job->run, json_string_value(key));

		if (other && other != job && other->state == JOB_RUNNING)
			return true;
	}
	return false;
}

/* Those that never came are on disk, too: an order may come to the next life of this agent. */
static void
keep_cancelled(Job *job, const AgentConfig *config)
{
	size_t		i;
	json_t	   *key;

	json_array_foreach(job->undoes, i, key)
	{
		json_t	   *record = NULL;
		Job		   *other;

		pthread_mutex_lock(&jobs_lock);
		other = job_find(job->run, json_string_value(key));
		if (other && other->nparts == 0)
			record = jobview_record(other);
		pthread_mutex_unlock(&jobs_lock);
		if (record && journal_write(config->state_dir, job->run, json_string_value(key), record, false) < 0)
			log_warning("could not write the record of job %s/%s", job->run, json_string_value(key));
		json_decref(record);
	}
}

void
undone_await(Job *job, const AgentConfig *config)
{
	double		limit = clock_monotonic_ms() + END_MS;
	bool		waits = job->undoes != NULL;

	while (waits)
	{
		pthread_mutex_lock(&jobs_lock);
		waits = runs_still(job);
		pthread_mutex_unlock(&jobs_lock);
		if (waits && clock_monotonic_ms() > limit)
		{
			log_warning("job %s/%s begins although what it undoes has not ended", job->run, job->step);
			break;
		}
		if (waits)
			sleep_ms(POLL_MS);
	}
	if (job->undoes)
		keep_cancelled(job, config);
}
