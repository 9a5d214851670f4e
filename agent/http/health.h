/*
 * health.h
 *		Where may clients be sent?  The paths that load balancers ask, and the answer from the state of the node.
 *
 * Paths and status codes are those of Patroni's REST API, as far as they have a meaning here, so that a configuration
 * made for it works. The answer is 200 only for what was seen lately.
 */
#ifndef PINGPONG_AGENT_HTTP_HEALTH_H
#define PINGPONG_AGENT_HTTP_HEALTH_H

#include <stdbool.h>

#include "agent/core/nodestate.h"

/* The n-th path, from 0; NULL after the last one. */
extern const char *health_path(int n);

/*
 * The HTTP status for a path of that list; 400: "lag" (NULL: the request has none) is no size. It is a number of
 * bytes, or one with kB, MB, GB or TB. Pure.
 */
extern unsigned health_status(const char *path, const char *lag, const NodeState *state);

/* The same for the present state, and the word that goes with it. Costs no query. */
extern unsigned health_now(const char *path, const char *lag, const char **word);

#endif							/* PINGPONG_AGENT_HTTP_HEALTH_H */
