/*
 * pastfork.h
 *		Whether the WAL in a data directory reaches past the point where the source left its timeline.
 */
#ifndef PINGPONG_AGENT_REJOIN_PASTFORK_H
#define PINGPONG_AGENT_REJOIN_PASTFORK_H

#include "agent/core/config.h"
#include "agent/rejoin/rule.h"
#include "agent/rejoin/source.h"

/* Does the WAL in the directory (of a stopped server, or after what it flushed) reach past the fork? */
extern PastFork source_past_fork(const Source *source, const PgInstance *pg, const char *data, unsigned timeline);

#endif							/* PINGPONG_AGENT_REJOIN_PASTFORK_H */
