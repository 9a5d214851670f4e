/*
 * pooler.h
 *		Facts about the poolers that we administer: what their consoles say, and their files.
 */
#ifndef PINGPONG_AGENT_FACTS_POOLER_H
#define PINGPONG_AGENT_FACTS_POOLER_H

#include <jansson.h>

#include "agent/core/config.h"

extern json_t *facts_routers(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_FACTS_POOLER_H */
