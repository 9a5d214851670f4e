/*
 * retry.h
 *		For some seconds, a failed login does not make clients wait.
 */
#ifndef PINGPONG_AGENT_ROUTE_RETRY_H
#define PINGPONG_AGENT_ROUTE_RETRY_H

#include <jansson.h>

#include "agent/core/config.h"
#include "agent/route/endpoint.h"

/*
 * retry_soon() does it in another thread, which takes the lock, and puts the setting back. retry_statement(): to be
 * sent right after a RELOAD, where the setting to restore is known (NULL: it is not); retry_soon() must follow.
 * retry_note(): what is set now. The lock is held.
 */
extern void retry_soon(Endpoint *endpoint);
extern const char *retry_statement(Endpoint *endpoint);
extern void retry_note(Endpoint *endpoint, const char *value);

/* Waits a moment until no login to a server is under way (in these databases; NULL: in any).  The lock is held. */
extern void retry_await_logins(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, int limit_ms);

#endif							/* PINGPONG_AGENT_ROUTE_RETRY_H */
