/*
 * contents.h
 *		What the databases of a server hold that counts for an upgrade.
 */
#ifndef PINGPONG_AGENT_UPGRADE_CONTENTS_H
#define PINGPONG_AGENT_UPGRADE_CONTENTS_H

#include <jansson.h>
#include <libpq-fe.h>

#include "agent/core/config.h"

/* visit_databases() with the questions of preflight. */
extern json_t *contents_look(const PgInstance *pg, PGconn *conn, double deadline_ms);

#endif							/* PINGPONG_AGENT_UPGRADE_CONTENTS_H */
