/*
 * smoke.h
 *		smoke: a statement through the pooler, as a client of the site would send it.
 */
#ifndef PINGPONG_AGENT_ROUTE_SMOKE_H
#define PINGPONG_AGENT_ROUTE_SMOKE_H

#include "agent/job/action.h"

/* The statement must give true; -1: the job has failed. */
extern int	smoke_test(ActionContext *ctx, const BouncerConfig *bouncer, const char *sql, const char *database,
					   int timeout_ms);

extern int	action_pgbouncer_smoke(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ROUTE_SMOKE_H */
