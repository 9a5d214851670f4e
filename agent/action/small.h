/*
 * small.h
 *		pg.checkpoint, note: orders of a few lines.
 */
#ifndef PINGPONG_AGENT_ACTION_SMALL_H
#define PINGPONG_AGENT_ACTION_SMALL_H

#include "agent/job/action.h"

extern int	action_pg_checkpoint(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_note(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_SMALL_H */
