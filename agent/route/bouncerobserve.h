/*
 * bouncerobserve.h
 *		What a PgBouncer says of itself, and its file.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCEROBSERVE_H
#define PINGPONG_AGENT_ROUTE_BOUNCEROBSERVE_H

#include "agent/job/action.h"

extern int	action_pgbouncer_observe(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCEROBSERVE_H */
