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

/*
 * The highest epoch of a promotion of this node's server that may still happen, and its run; 0: none. The server may
 * be asked, for some seconds.
 */
extern int64_t promote_pending_epoch(const AgentConfig *config, char *run, size_t run_size);

#endif							/* PINGPONG_AGENT_ACTION_PROMOTE_H */
