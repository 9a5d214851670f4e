/*
 * database.h
 *		What this host's database says: the nodes of the cluster, and of a primary the alerts to be delivered.
 *
 * One thread calls these. The session is kept open while the server answers the sampler, and no longer.
 */
#ifndef PINGPONG_AGENT_ALERT_DATABASE_H
#define PINGPONG_AGENT_ALERT_DATABASE_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/core/config.h"

/* Ends the session. */
extern void database_leave(void);

/*
 * Refreshes the roster, at most once in some seconds. Called all the time: it ends the session when the server stops,
 * which would wait for it.
 */
extern void database_read_nodes(const AgentConfig *config);

/*
 * The messages that are to be delivered, the oldest first, at most 20; a new reference, empty: none, or this is no
 * primary whose gate is open. An open alert is due again repeat_ms after it was sent (0: never).
 */
extern json_t *database_due(const AgentConfig *config, double repeat_ms);

/* The message was delivered. False: that could not be noted, so it would be due again. */
extern bool database_sent(const json_t *message);

#endif							/* PINGPONG_AGENT_ALERT_DATABASE_H */
