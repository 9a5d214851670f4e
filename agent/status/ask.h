/*
 * ask.h
 *		Asks the agent of this host, with the credentials of its own configuration.
 */
#ifndef PINGPONG_AGENT_STATUS_ASK_H
#define PINGPONG_AGENT_STATUS_ASK_H

#include <jansson.h>
#include <stddef.h>

#include "agent/core/config.h"

typedef enum AskResult
{
	ASK_ANSWERED,
	ASK_NOBODY,					/* nobody answers, or it cannot be asked */
	ASK_REFUSED					/* somebody does, and it is of no use */
} AskResult;

/* GET of that path. The answer (new reference), or a sentence without secrets. At most 10 s, and 16 MB. */
extern AskResult ask_agent(const AgentConfig *config, const char *path, json_t **answer, char *error,
						   size_t error_size);

#endif							/* PINGPONG_AGENT_STATUS_ASK_H */
