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
 * folders are not fit for it; 53100 the disk is too small; 0A000 what an upgrade cannot do yet.
 */
extern int	upgrade_suits(const Upgrade *upgrade, PGconn *conn, json_t *standbys);

/* The same for a standby, which is in mode UPGRADE_STANDBY. */
extern int	upgrade_suits_standby(const Upgrade *upgrade, PGconn *conn);

#endif							/* PINGPONG_AGENT_UPGRADE_SUITS_H */
