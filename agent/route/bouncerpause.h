/*
 * bouncerpause.h
 *		hold: PAUSE.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERPAUSE_H
#define PINGPONG_AGENT_ROUTE_BOUNCERPAUSE_H

#include "agent/job/action.h"

extern int	action_pgbouncer_pause(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERPAUSE_H */
