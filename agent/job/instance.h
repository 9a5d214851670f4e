/*
 * instance.h
 *		Which PostgreSQL instance of this host an action works on.
 */
#ifndef PINGPONG_AGENT_JOB_INSTANCE_H
#define PINGPONG_AGENT_JOB_INSTANCE_H

#include "agent/job/action.h"

/*
 * Sets ctx->pg to the instance that params name with "instance"; without it, or with "", to the main one; to NULL
 * where the agent has none. Fails the job, and nothing is to be done then: 22023, the name is no string; 42704, there
 * is no such instance, with a hint that names those that there are; 0A000, the action is for the main one alone;
 * 55000, it needs a server and the agent has none.
 */
extern int	instance_choose(ActionContext *ctx, int flags, json_t *params);

/*
 * The undo of an action works on the action's instance, unless its own params name one: that of `from`, the action's
 * params, is taken over. Either may be NULL.
 */
extern void instance_inherit(json_t *params, json_t *from);

/* Does the action's success prove that the primary has moved? */
extern bool instance_raises_epoch(const ActionContext *ctx, int flags);

#endif							/* PINGPONG_AGENT_JOB_INSTANCE_H */
