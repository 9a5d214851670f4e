/*
 * run.h
 *		pg.rejoin, pg.follow.
 */
#ifndef PINGPONG_AGENT_REJOIN_RUN_H
#define PINGPONG_AGENT_REJOIN_RUN_H

#include "agent/rejoin/rejoin.h"

/* pg.rejoin for a server that succeeds the node's: ctx->pg is that server. */
extern int	rejoin_heir(ActionContext *ctx, json_t *params, json_t *result, const RejoinHeir *heir);

extern int	action_pg_follow(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_REJOIN_RUN_H */
