/*
 * tool.h
 *		PostgreSQL's own programs, run for a rejoin.
 */
#ifndef PINGPONG_AGENT_REJOIN_TOOL_H
#define PINGPONG_AGENT_REJOIN_TOOL_H

#include "agent/rejoin/rejoin.h"

/*
 * What an agent that is gone has left running (pg_basebackup's second process, a single-user server) is ended
 * before somebody works in the same folders. Fails the job when it does not go.
 */
extern int	tool_end_leftovers(Rejoin *rejoin);

/* When a program began that tells how far it is, and what for. */
typedef struct ToolProgress
{
	ActionContext *ctx;
	const char *what;
	double		began_ms;		/* monotonic */
} ToolProgress;

/*
 * Progress of the job by what pg_basebackup or pg_rewind write meanwhile: percent, MB, speed and time to go. What
 * tells nothing changes nothing.
 */
extern void tool_progress(const ToolProgress *progress, const char *data, size_t size);

/* pg_rewind, pg_basebackup, postgres: output to the job, progress, its last words in the error */
extern int	run_tool(Rejoin *rejoin, char *const *argv, char *password);

#endif							/* PINGPONG_AGENT_REJOIN_TOOL_H */
