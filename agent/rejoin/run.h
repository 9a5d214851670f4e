/*
 * run.h
 *		pg.rejoin, pg.follow.
 */
#ifndef PINGPONG_AGENT_REJOIN_RUN_H
#define PINGPONG_AGENT_REJOIN_RUN_H

#include "agent/job/action.h"

extern int	action_pg_follow(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_REJOIN_RUN_H */
