/*
 * pause.h
 *		The end that every pause carries, kept in state_dir/pause/ENDPOINT.json.
 */
#ifndef PINGPONG_AGENT_ROUTE_PAUSE_H
#define PINGPONG_AGENT_ROUTE_PAUSE_H

#include <jansson.h>

#include "agent/core/config.h"
#include "agent/route/endpoint.h"

extern PauseEnd pause_end_in(double ms);
extern double pause_left_ms(const PauseEnd *end);	/* <= 0: it is over */
extern int	pause_mark(const AgentConfig *config, Endpoint *endpoint, json_t *databases, const PauseEnd *end);
extern void pause_clear(const AgentConfig *config, Endpoint *endpoint);
extern void pause_guard(Endpoint *endpoint, json_t *databases, const PauseEnd *end);	/* the lock is held */

/* Watches over the pauses that an earlier run of the agent left, and removes from the files what it left. */
extern void pgbouncer_start(void);

#endif							/* PINGPONG_AGENT_ROUTE_PAUSE_H */
