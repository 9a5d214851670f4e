/*
 * host.h
 *		Facts about the host: names, clock, memory, disks, other managers of PostgreSQL, and whether this agent could
 *		start and stop its server.
 */
#ifndef PINGPONG_AGENT_FACTS_HOST_H
#define PINGPONG_AGENT_FACTS_HOST_H

#include <jansson.h>

#include "agent/core/config.h"

extern json_t *facts_host(void);	/* names, clock, memory */
extern json_t *facts_disks(const PgInstance *pg);
extern json_t *facts_ha_managers(void);
extern json_t *facts_service(const PgInstance *pg);

#endif							/* PINGPONG_AGENT_FACTS_HOST_H */
