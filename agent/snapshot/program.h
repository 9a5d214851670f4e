/*
 * program.h
 *		The program of a file system, which may need more rights than the agent has.
 */
#ifndef PINGPONG_AGENT_SNAPSHOT_PROGRAM_H
#define PINGPONG_AGENT_SNAPSHOT_PROGRAM_H

#include "agent/core/text.h"
#include "agent/snapshot/driver.h"

/*
 * Runs it with those words (NULL-terminated). Where the option has words behind the first one, these are run in its
 * place (sudo, for example). `output`: what it printed, NULL: only into the job. Not 0: the job has failed (38000).
 */
extern int	snapshot_run(const Snapshot *snapshot, const char *program, char *const *words, Text *output);

#endif							/* PINGPONG_AGENT_SNAPSHOT_PROGRAM_H */
