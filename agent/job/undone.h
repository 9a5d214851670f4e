/*
 * undone.h
 *		What a job undoes: other jobs of its run, which must have ended before.
 */
#ifndef PINGPONG_AGENT_JOB_UNDONE_H
#define PINGPONG_AGENT_JOB_UNDONE_H

#include "agent/core/config.h"
#include "agent/job/job.h"

/*
 * Tells the jobs that `job` undoes to end. One that is not known here never came: it is entered as cancelled, so that
 * an order which comes late finds it so. jobs_lock is held.
 */
extern void undone_cancel(Job *job);

/* Waits until they have ended; not for long: what the undo repairs may be what they wait for. Without the lock. */
extern void undone_await(Job *job, const AgentConfig *config);

#endif							/* PINGPONG_AGENT_JOB_UNDONE_H */
