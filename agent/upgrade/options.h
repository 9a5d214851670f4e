/*
 * options.h
 *		Options of columns that the new release does not know.
 */
#ifndef PINGPONG_AGENT_UPGRADE_OPTIONS_H
#define PINGPONG_AGENT_UPGRADE_OPTIONS_H

#include <libpq-fe.h>

#include "agent/upgrade/upgrade.h"

/*
 * A minor release may store an option of columns that an older release of the new major refuses, in the middle of
 * restoring the schema; pg_upgrade --check does not try. Each option that is in use, in any database, is tried in the
 * new cluster, in a transaction that is rolled back. Fails the job (55000) with the first that is refused.
 */
extern int	options_known(const Upgrade *upgrade, PGconn *conn);

#endif							/* PINGPONG_AGENT_UPGRADE_OPTIONS_H */
