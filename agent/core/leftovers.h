/*
 * leftovers.h
 *		Temporary files of agents that were killed while they wrote.
 */
#ifndef PINGPONG_AGENT_CORE_LEFTOVERS_H
#define PINGPONG_AGENT_CORE_LEFTOVERS_H

#include "agent/core/config.h"

/* Removes what killed agents have left half written.  Only before anything else of this agent writes. */
extern void leftovers_remove(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CORE_LEFTOVERS_H */
