/*
 * http.h
 *		The HTTP front: starting and stopping it.
 */
#ifndef PINGPONG_AGENT_HTTP_H
#define PINGPONG_AGENT_HTTP_H

#include <stdbool.h>

#include "agent/core/config.h"

/* Starts serving; 0, or -1 with a message in error. */
extern int	http_start(char *error, size_t error_size);
extern void http_stop(void);

/* Takes over what a new configuration may change while the agent runs; 0, or -1 with a message: nothing is changed. */
extern int	http_reload(const AgentConfig *old, const AgentConfig *config, char *error, size_t error_size);

/* Equal without telling by the time taken how much of it is. */
extern bool token_equal(const char *given, const char *expected);

#endif							/* PINGPONG_AGENT_HTTP_H */
