/*
 * actions.h
 *		The table of actions.
 */
#ifndef PINGPONG_AGENT_ACTIONS_H
#define PINGPONG_AGENT_ACTIONS_H

#include "agent/job/action.h"

extern const ActionEntry all_actions[];	/* ends with an entry without a name */

/* The actions, one file a family */
extern int	action_pg_checkpoint(ActionContext *ctx, json_t *params, json_t *result);	/* settings.c */
extern int	action_pg_query(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_note(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_setting(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_slot_ensure(ActionContext *ctx, json_t *params, json_t *result);	/* slots.c */
extern int	action_slot_drop(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_slot_tidy(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_token_arm(ActionContext *ctx, json_t *params, json_t *result);	/* promote.c */
extern int	action_token_burn(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_promote(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_follow(ActionContext *ctx, json_t *params, json_t *result);	/* rejoin.c */
extern int	action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_hook(ActionContext *ctx, json_t *params, json_t *result);	/* hook.c */

#endif							/* PINGPONG_AGENT_ACTIONS_H */
