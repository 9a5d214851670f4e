/*
 * configread.h
 *		Reads the configuration file.
 */
#ifndef PINGPONG_AGENT_CORE_CONFIGREAD_H
#define PINGPONG_AGENT_CORE_CONFIGREAD_H

#include "agent/core/config.h"

/* Reads the file, with defaults. NULL with error: it cannot be used as it is. */
extern AgentConfig *config_read(const char *path, char *error, size_t error_size);

#endif							/* PINGPONG_AGENT_CORE_CONFIGREAD_H */
