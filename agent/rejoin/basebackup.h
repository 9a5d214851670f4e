/*
 * basebackup.h
 *		The costliest method, which always works where there is room: a copy of the source.
 */
#ifndef PINGPONG_AGENT_REJOIN_BASEBACKUP_H
#define PINGPONG_AGENT_REJOIN_BASEBACKUP_H

#include "agent/rejoin/rejoin.h"

/* Could it work here? Fails the job with the reason; asked while the server still runs. */
extern int	basebackup_feasible(Rejoin *rejoin);

/* Leaves a stopped data directory that is configured as a standby. */
extern int	rejoin_by_basebackup(Rejoin *rejoin, int (*stop) (Rejoin *rejoin));	/* the copy is made before the stop */

#endif							/* PINGPONG_AGENT_REJOIN_BASEBACKUP_H */
