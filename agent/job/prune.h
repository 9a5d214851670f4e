/*
 * prune.h
 *		Which jobs are forgotten: old runs, and old questions.
 */
#ifndef PINGPONG_AGENT_JOB_PRUNE_H
#define PINGPONG_AGENT_JOB_PRUNE_H

#include "agent/core/config.h"

/*
 * Keeps the runs whose newest job is among the newest; a busy run stays in any case.
 * Forgets one of the others and gives its name (PINGPONG_KEY_MAX); false: none.  jobs_lock is held.
 */
extern bool prune_one(char *run);

/* Forgets all questions that are old, with their files.  Takes jobs_lock. */
extern void prune_questions(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_JOB_PRUNE_H */
