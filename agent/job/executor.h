/*
 * executor.h
 *		The executor: a thread for each job.
 */
#ifndef PINGPONG_AGENT_JOB_EXECUTOR_H
#define PINGPONG_AGENT_JOB_EXECUTOR_H

#include "agent/job/job.h"

/* Its thread begins.  jobs_lock is held. */
extern void job_begin(Job *job);

/*
 * proved_epoch: what the promote tokens say, 0 for nothing; the file may be behind, where a disk was full.
 *
 * Reads the journal, resumes what may be resumed, fails the rest. -1 with error: the epoch is there and cannot be
 * read; nothing was begun, and nothing must be.
 */
extern int	jobs_start(int64_t proved_epoch, char *error, size_t error_size);

/* Wakes all threads that wait; gives running jobs limit_ms to end.  What still runs is resumed at the next start. */
extern void jobs_shutdown(int limit_ms);

extern bool jobs_shutting_down;	/* no new jobs, nobody waits; under jobs_lock */

#endif							/* PINGPONG_AGENT_JOB_EXECUTOR_H */
