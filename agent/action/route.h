/*
 * route.h
 *		route.*: what a run wants of a router of any kind.
 */
#ifndef PINGPONG_AGENT_ACTION_ROUTE_H
#define PINGPONG_AGENT_ACTION_ROUTE_H

#include "agent/job/action.h"

/* Each has a parameter "driver", and those of driver.h. */
extern int	action_route_observe(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_route_prepare(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_route_hold(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_route_commit(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_route_release(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_route_smoke(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_ROUTE_H */
