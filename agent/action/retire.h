/*
 * retire.h
 *		pg.warm, pg.retire: the end of a server's life as a primary when it does not become a standby.
 */
#ifndef PINGPONG_AGENT_ACTION_RETIRE_H
#define PINGPONG_AGENT_ACTION_RETIRE_H

#include "agent/job/action.h"

extern int	action_pg_warm(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_retire(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_RETIRE_H */
