/*
 * bouncerprepare.h
 *		prepare: what a switchover needs of a pooler, found out before anything has changed.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERPREPARE_H
#define PINGPONG_AGENT_ROUTE_BOUNCERPREPARE_H

#include "agent/job/action.h"

extern int	action_pgbouncer_prepare(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERPREPARE_H */
