/*
 * actions.h
 *		The table of actions.
 */
#ifndef PINGPONG_AGENT_ACTIONS_H
#define PINGPONG_AGENT_ACTIONS_H

#include "agent/job/action.h"

extern const ActionEntry all_actions[];	/* ends with an entry without a name */

/* The actions, one file a family */
extern int	action_pg_follow(ActionContext *ctx, json_t *params, json_t *result);	/* rejoin.c */
extern int	action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTIONS_H */
