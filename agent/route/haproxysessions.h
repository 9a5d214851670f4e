/*
 * haproxysessions.h
 *		The sessions that HAProxy keeps with servers of before, and their end.
 */
#ifndef PINGPONG_AGENT_ROUTE_HAPROXYSESSIONS_H
#define PINGPONG_AGENT_ROUTE_HAPROXYSESSIONS_H

#include <jansson.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/job/action.h"

/*
 * The sessions of these backends with servers that lead to none of the places (NULL: with any), by the table of
 * runtime_servers(): {"id": "its client"}. An id is used again, so it takes both to know one. NULL with why.
 */
extern json_t *haproxy_sessions_elsewhere(const ConfigSection *section, json_t *table, json_t *databases,
										  json_t *places, char *why, size_t why_size);

/*
 * Behind the answer: the old primary ends its sessions when it knows that all routes lead elsewhere, and tells their
 * clients why. What is left of "sessions" after a moment (its host is gone, say) is shut down here. Also "endpoint"
 * and "databases".
 */
extern void haproxy_end_sessions(ActionContext *ctx, json_t *params);

#endif							/* PINGPONG_AGENT_ROUTE_HAPROXYSESSIONS_H */
