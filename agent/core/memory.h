/*
 * memory.h
 *		The name of this state folder: its "memory".
 *
 * It is a random name in state_dir/memory, made when there is none. It is another one after the folder was lost,
 * emptied or not mounted, and on another host. A caller that got a promise from the other memory sees by the name
 * that this agent does not know of it.
 */
#ifndef PINGPONG_AGENT_CORE_MEMORY_H
#define PINGPONG_AGENT_CORE_MEMORY_H

#include "agent/core/config.h"

extern void memory_start(const AgentConfig *config);
extern const char *memory_id(void);

#endif							/* PINGPONG_AGENT_CORE_MEMORY_H */
