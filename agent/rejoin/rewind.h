/*
 * rewind.h
 *		The method for a server that has written past the fork: pg_rewind.
 */
#ifndef PINGPONG_AGENT_REJOIN_REWIND_H
#define PINGPONG_AGENT_REJOIN_REWIND_H

#include "agent/rejoin/rejoin.h"

/* Could it work here? Fails the job with the reason; asked while the server still runs. */
extern int	rewind_feasible(Rejoin *rejoin);

/* Leaves a stopped data directory that is configured as a standby. */
extern int	rejoin_by_rewind(Rejoin *rejoin);

#endif							/* PINGPONG_AGENT_REJOIN_REWIND_H */
