/*
 * table.c
 *		The jobs that this agent knows.  The caller holds jobs_lock.
 */
#include <string.h>

#include "agent/job/table.h"

Job		   *job_table;

Job *
job_find(const char *run, const char *step)
{
	for (Job *job = job_table; job; job = job->next)
		if (strcmp(job->run, run) == 0 && strcmp(job->step, step) == 0)
			return job;
	return NULL;
}

void
job_insert(Job *job)
{
	Job		  **place = &job_table;

	while (*place && (*place)->received_ms > job->received_ms)
		place = &(*place)->next;
	job->next = *place;
	*place = job;
}
