/*
 * instances.h
 *		Which PostgreSQL instances this agent knows.
 */
#ifndef PINGPONG_AGENT_FACTS_INSTANCES_H
#define PINGPONG_AGENT_FACTS_INSTANCES_H

#include <jansson.h>

#include "agent/core/config.h"

/*
 * A row an instance, the main one first. "version" and "data_version" are null where they are not known, "running" is
 * null if the server may run where it cannot be seen.
 */
extern json_t *facts_instances(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_FACTS_INSTANCES_H */
