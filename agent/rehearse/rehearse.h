/*
 * rehearse.h
 *		An upgrade in place and its way back, made on a clone of the main server.
 *
 * The clone has an agent of its own, which is this program with another configuration (conduct.h), so that the same
 * rows of the runbooks are made by the same code. The four actions are steps of one run, in this order; the last one
 * undoes the others, and can be repeated. None of them changes anything of the main server.
 */
#ifndef PINGPONG_AGENT_REHEARSE_REHEARSE_H
#define PINGPONG_AGENT_REHEARSE_REHEARSE_H

#include "agent/job/action.h"

/* Params as upgrade_open(), and "from": see clone_make(), which gives the result. */
extern int	action_rehearse_clone(ActionContext *ctx, json_t *params, json_t *result);

/*
 * Params as upgrade_open(), and "carry". Result: "window_ms", how long clients would have waited; "steps", {ACTION:
 * ms}. Fails the job (38000) with what stopped the upgrade: REHEARSAL_FAILED and a sentence (conduct.h).
 */
extern int	action_rehearse_run(ActionContext *ctx, json_t *params, json_t *result);

/* Result: "rollback_ms", from the order until the old server took writes; none, where this mode has no way back. */
extern int	action_rehearse_back(ActionContext *ctx, json_t *params, json_t *result);

/* Needs no parameter: what was made is remembered. */
extern int	action_rehearse_clear(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_REHEARSE_REHEARSE_H */
