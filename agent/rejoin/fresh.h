/*
 * fresh.h
 *		A node that had no settings of its own: what of the source's settings cannot be its own.
 */
#ifndef PINGPONG_AGENT_REJOIN_FRESH_H
#define PINGPONG_AGENT_REJOIN_FRESH_H

#include "agent/rejoin/rejoin.h"

/*
 * `data`: a copy of the source, before it is started here. The node's name, its port and socket as the agent's
 * configuration has them, and its token, go to postgresql.auto.conf, unless the node had one. 0, or the job has
 * failed.
 */
extern int	fresh_settings(Rejoin *rejoin, const char *data);

#endif							/* PINGPONG_AGENT_REJOIN_FRESH_H */
