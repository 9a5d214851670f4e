/*
 * promote.h
 *		token.arm, token.burn, pg.promote.
 */
#ifndef PINGPONG_AGENT_ACTION_PROMOTE_H
#define PINGPONG_AGENT_ACTION_PROMOTE_H

#include "agent/job/action.h"

extern int	action_token_arm(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_token_burn(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_promote(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_PROMOTE_H */
