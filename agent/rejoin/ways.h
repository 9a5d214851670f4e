/*
 * ways.h
 *		The methods to make a server a standby (direct, rewind, base backup), each costlier than the one before.
 */
#ifndef PINGPONG_AGENT_REJOIN_WAYS_H
#define PINGPONG_AGENT_REJOIN_WAYS_H

#include "agent/rejoin/rejoin.h"

/* What they need is looked at while the server is still up; a way that cannot work is left out. */
extern int	rejoin_check_ways(Rejoin *rejoin);

/* From the first way that can work, one after the other, until the server streams. */
extern int	rejoin_try_ways(Rejoin *rejoin);

#endif							/* PINGPONG_AGENT_REJOIN_WAYS_H */
