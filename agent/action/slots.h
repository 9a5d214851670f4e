/*
 * slots.h
 *		slot.ensure, slot.drop: physical replication slots of the local server.
 */
#ifndef PINGPONG_AGENT_ACTION_SLOTS_H
#define PINGPONG_AGENT_ACTION_SLOTS_H

#include "agent/job/action.h"

extern int	action_slot_ensure(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_slot_drop(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_SLOTS_H */
