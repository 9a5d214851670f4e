/*
 * postgres.h
 *		Facts about the local server.
 */
#ifndef PINGPONG_AGENT_FACTS_POSTGRES_H
#define PINGPONG_AGENT_FACTS_POSTGRES_H

#include <jansson.h>

#include "agent/core/config.h"

extern json_t *facts_postgres(const PgInstance *pg);

#endif							/* PINGPONG_AGENT_FACTS_POSTGRES_H */
