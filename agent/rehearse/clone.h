/*
 * clone.h
 *		A copy of the main server that nobody else can reach, and that reaches nobody.
 */
#ifndef PINGPONG_AGENT_REHEARSE_CLONE_H
#define PINGPONG_AGENT_REHEARSE_CLONE_H

#include "agent/rehearse/place.h"

/*
 * Copies and configures it; it is down afterwards. `from` is {"name", "host", "port"} of a standby to copy, or NULL:
 * then, and when that standby cannot be copied, it is the main server. `result` gets "from", "bytes" and "databases",
 * which is {NAME: number of relations}: what the catalogs held. Fails the job: 53100, no room; 08006 and 38000.
 */
extern int	clone_make(Rehearsal *rehearsal, json_t *from, json_t *result);

#endif							/* PINGPONG_AGENT_REHEARSE_CLONE_H */
