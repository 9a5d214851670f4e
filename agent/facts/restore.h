/*
 * restore.h
 *		How long the server's restore_command takes to say that it has no such file.
 */
#ifndef PINGPONG_AGENT_FACTS_RESTORE_H
#define PINGPONG_AGENT_FACTS_RESTORE_H

#include <jansson.h>

#include "agent/core/config.h"

extern json_t *facts_restore(const PgInstance *pg, json_t *params);

#endif							/* PINGPONG_AGENT_FACTS_RESTORE_H */
