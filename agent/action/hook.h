/*
 * hook.h
 *		hook: a command of the site.
 */
#ifndef PINGPONG_AGENT_ACTION_HOOK_H
#define PINGPONG_AGENT_ACTION_HOOK_H

#include "agent/job/action.h"

extern int	action_hook(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_HOOK_H */
