/*
 * network.h
 *		A connection that a move needs, tried for real.
 */
#ifndef PINGPONG_AGENT_FACTS_NETWORK_H
#define PINGPONG_AGENT_FACTS_NETWORK_H

#include <jansson.h>

#include "agent/core/config.h"

extern json_t *facts_connection(const PgInstance *pg, json_t *wanted);

#endif							/* PINGPONG_AGENT_FACTS_NETWORK_H */
