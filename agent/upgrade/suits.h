/*
 * suits.h
 *		What stands against an upgrade, looked at while the server serves and before anything is made.
 */
#ifndef PINGPONG_AGENT_UPGRADE_SUITS_H
#define PINGPONG_AGENT_UPGRADE_SUITS_H

#include <libpq-fe.h>

#include "agent/upgrade/upgrade.h"

/*
 * Fails the job with the first thing that it finds, and says what to do: 55000 the server, its contents or the
 * folders are not fit for it; 53100 a disk is too small.
 */
extern int	upgrade_suits(const Upgrade *upgrade, PGconn *conn, json_t *standbys);

/* The same for a standby, which is in mode UPGRADE_STANDBY. */
extern int	upgrade_suits_standby(const Upgrade *upgrade, PGconn *conn);

/* Parts of it, for preflight. They fail the job, too. */
extern int	upgrade_programs(const Upgrade *upgrade);	/* there, executable, and of that major */
extern int	upgrade_links(const Upgrade *upgrade);	/* a real link, or reflink, is made and removed */

extern json_t *upgrade_room(const Upgrade *upgrade, PGconn *conn);	/* as spaces_room() */

#endif							/* PINGPONG_AGENT_UPGRADE_SUITS_H */
