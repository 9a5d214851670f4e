/*
 * configcheck.h
 *		The rules of a configuration.
 */
#ifndef PINGPONG_AGENT_CORE_CONFIGCHECK_H
#define PINGPONG_AGENT_CORE_CONFIGCHECK_H

#include "agent/core/config.h"

/* The first sentence of why a file cannot be used; "": there is none. Never a value that may hold a secret. */
typedef struct ConfigError
{
	char	   *text;
	size_t		size;
} ConfigError;

/* Notes a sentence with two words, if there is none so far. Always 0, for `return`. */
extern int config_refuse(ConfigError *error, const char *format, const char *a, const char *b);

/* What has been read, with its defaults. False with error: it cannot be used as it is. */
extern bool config_check(const AgentConfig *config, ConfigError *error);

#endif							/* PINGPONG_AGENT_CORE_CONFIGCHECK_H */
