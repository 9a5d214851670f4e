/*
 * contents.h
 *		What the databases of a server hold that counts for an upgrade.
 */
#ifndef PINGPONG_AGENT_UPGRADE_CONTENTS_H
#define PINGPONG_AGENT_UPGRADE_CONTENTS_H

#include <jansson.h>
#include <libpq-fe.h>

#include "agent/core/config.h"

/*
 * {"rows": [{"database", and a member for each part}]}, of every database that accepts connections, template1, too;
 * or {"error"}. A part that could not be looked at is {"error"}, and so is a database that was not visited by the
 * deadline (clock_monotonic_ms()).
 */
extern json_t *contents_look(const PgInstance *pg, PGconn *conn, double deadline_ms);

#endif							/* PINGPONG_AGENT_UPGRADE_CONTENTS_H */
