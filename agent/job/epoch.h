/*
 * epoch.h
 *		The highest epoch that was proved to this agent. Orders of an older one are refused.
 */
#ifndef PINGPONG_AGENT_JOB_EPOCH_H
#define PINGPONG_AGENT_JOB_EPOCH_H

#include <stdint.h>

#include "agent/core/config.h"

/*
 * Reads what is on disk; `proved` is what else is known. -1 with `error`: it cannot be read, and the agent must not
 * start.
 */
extern int	epoch_start(const AgentConfig *config, int64_t proved, char *error, size_t error_size);

/* The file in state_dir: *epoch is 0 for none yet; -1 with error: it is there and cannot be read. */
extern int	epoch_read(const char *state_dir, int64_t *epoch, char *error, size_t error_size);

extern int64_t epoch_current(void);

/* In memory: an older job is refused from this moment on. */
extern void epoch_raise(int64_t epoch);

/* On disk: before the job's end is, so that a crash in between finds the job running. -1 with errno. */
extern int	epoch_keep(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_JOB_EPOCH_H */
