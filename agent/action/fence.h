/*
 * fence.h
 *		pg.fence, pg.unfence: a dead primary stays closed; epoch.claim, epoch.release: a failover is under way.
 */
#ifndef PINGPONG_AGENT_ACTION_FENCE_H
#define PINGPONG_AGENT_ACTION_FENCE_H

#include "agent/job/action.h"

/*
 * pg.fence {"target"}: the server is down when this ends, and its data directory is sealed for the run: whoever
 * starts it, it takes no write. Refused (55000) where a server answers that is not sealed by this run: it is no dead
 * primary.
 * {"stopped", "sealed"}; sealed false: there is no data directory, and nothing that could start.
 *
 * A fence that fails, or was cancelled before the seal, leaves none, unless a server runs that may hold it.
 *
 * pg.unfence: the seal of the run goes, and one of before comes back. Refused (55000) while a server runs that the
 * run has sealed, or that does not tell.
 */
extern int	action_pg_fence(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_unfence(ActionContext *ctx, json_t *params, json_t *result);

/* epoch.claim {"ttl_ms"}: see job/claim.h. Durable. */
extern int	action_epoch_claim(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_epoch_release(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_FENCE_H */
