/*
 * place.h
 *		Where the configuration of the new server is, if not in its data directory: a cluster of Debian's.
 */
#ifndef PINGPONG_AGENT_UPGRADE_PLACE_H
#define PINGPONG_AGENT_UPGRADE_PLACE_H

#include "agent/upgrade/upgrade.h"

/*
 * May the new server's configuration be written, and start.conf of both, and may that server be started and stopped?
 * 55000: the new cluster exists already, or the user may not; 22023: it is of another major than its programs. Where
 * all is in data directories there is nothing to check.
 */
extern int	place_check(const Upgrade *upgrade);

/* The folder and the files that Debian's tools need beside postgresql.conf. 58030. */
extern int	place_make(const Upgrade *upgrade);

/*
 * Removes what place_make() and newconf_write() made. A folder whose start.conf has no mark of ours is left: it is
 * somebody's cluster. 0, or -1 with errno.
 */
extern int	place_clear(const PgInstance *pg);

#endif							/* PINGPONG_AGENT_UPGRADE_PLACE_H */
