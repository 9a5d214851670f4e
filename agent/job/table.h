/*
 * table.h
 *		The jobs that this agent knows.  The caller holds jobs_lock.
 */
#ifndef PINGPONG_AGENT_JOB_TABLE_H
#define PINGPONG_AGENT_JOB_TABLE_H

#include "agent/job/job.h"

extern Job *job_table;			/* newest first */

extern Job *job_find(const char *run, const char *step);
extern void job_insert(Job *job);

#endif							/* PINGPONG_AGENT_JOB_TABLE_H */
