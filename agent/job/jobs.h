/*
 * jobs.h
 *		Requests about jobs: order one, ask for one, cancel one, list them.
 */
#ifndef PINGPONG_AGENT_JOB_JOBS_H
#define PINGPONG_AGENT_JOB_JOBS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/core/config.h"

/* How a request for a job ended */
typedef enum JobAnswer
{
	JOB_OK, JOB_BAD_REQUEST, JOB_OLD_EPOCH, JOB_UNKNOWN, JOB_SHUTDOWN
} JobAnswer;

/* Each gives the job as JSON, or with another answer than JOB_OK a reason in error. */
extern JobAnswer jobs_post(json_t *request, json_t **answer, char *error, size_t error_size);
extern JobAnswer jobs_get(const char *run, const char *step, int64_t wait_ms, json_t **answer);
extern JobAnswer jobs_cancel(const char *run, const char *step, json_t **answer);

/* Newest first; run: those of that one only (NULL: of all); brief: without what came of the actions. */
extern json_t *jobs_list(const char *run, bool brief);

/*
 * What the job of that run with that action has done was taken back by another one: whoever asks is told that it
 * failed, and why. 0, also where no such job is known; -1 with errno: it is not on disk.
 */
extern int	jobs_retract(const AgentConfig *config, const char *run, const char *action, const char *why);

#endif							/* PINGPONG_AGENT_JOB_JOBS_H */
