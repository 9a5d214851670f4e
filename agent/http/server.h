/*
 * server.h
 *		The HTTP front: starting and stopping it.
 */
#ifndef PINGPONG_AGENT_HTTP_SERVER_H
#define PINGPONG_AGENT_HTTP_SERVER_H

#include "agent/core/config.h"

/* Starts serving; 0, or -1 with a message in error. */
extern int	http_start(char *error, size_t error_size);
extern void http_stop(void);

/*
 * Takes over what a new configuration may change while the agent runs; 0, or -1 with a message: nothing is changed.
 */
extern int	http_reload(const AgentConfig *old, const AgentConfig *config, char *error, size_t error_size);

#endif							/* PINGPONG_AGENT_HTTP_SERVER_H */
