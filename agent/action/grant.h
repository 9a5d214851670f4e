/*
 * grant.h
 *		What a run must have from the arbiter of the cluster, where one is configured (agent/arbiter).
 *
 * Those that return an int fail the job with a reason unless the arbiter has granted it: 55006, 55000 for what it
 * refuses, 08006 where it gives no answer.
 */
#ifndef PINGPONG_AGENT_ACTION_GRANT_H
#define PINGPONG_AGENT_ACTION_GRANT_H

#include "agent/job/action.h"

extern int	grant_claim(ActionContext *ctx, int64_t ttl_ms);

/* Without an answer the claim ends by itself: only the log says so. */
extern void grant_release(ActionContext *ctx);

/* Before the order to promote: whoever asks the arbiter from now on hears of the run's epoch. */
extern int	grant_epoch(ActionContext *ctx);

/*
 * It is certain that the run promotes nobody. Without an answer the arbiter goes on telling that epoch, which keeps a
 * primary closed that asks it when it starts: only the log says so.
 */
extern void grant_give_back(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_ACTION_GRANT_H */
