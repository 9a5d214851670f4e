/*
 * memory.h
 *		Which memory this is.
 *
 * A random name in state_dir/memory, made when there is none: another one after the folder was lost, emptied or not
 * mounted, and on another host.  Whoever was promised something by the other memory learns from it that this one does
 * not know.
 */
#ifndef PINGPONG_AGENT_CORE_MEMORY_H
#define PINGPONG_AGENT_CORE_MEMORY_H

#include "agent/core/config.h"

extern void memory_start(const AgentConfig *config);
extern const char *memory_id(void);

#endif							/* PINGPONG_AGENT_CORE_MEMORY_H */
