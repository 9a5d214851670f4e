/*
 * bouncercommit.h
 *		commit and release: the end of a pause, at the new place or where it was.
 */
#ifndef PINGPONG_AGENT_ROUTE_BOUNCERCOMMIT_H
#define PINGPONG_AGENT_ROUTE_BOUNCERCOMMIT_H

#include "agent/job/action.h"

extern int	action_pgbouncer_commit(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pgbouncer_release(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ROUTE_BOUNCERCOMMIT_H */
