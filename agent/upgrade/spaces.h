/*
 * spaces.h
 *		Tablespaces: what stands against an upgrade with them, and the room that it needs in each file system.
 *
 * pg_upgrade keeps their numbers and locations. In each location the new version gets a folder beside the old one's;
 * files are copied, linked or cloned within it. The standby's copy goes the same way in the locations that it has.
 */
#ifndef PINGPONG_AGENT_UPGRADE_SPACES_H
#define PINGPONG_AGENT_UPGRADE_SPACES_H

#include <jansson.h>
#include <libpq-fe.h>

#include "agent/upgrade/upgrade.h"

/*
 * {"rows": [{"name", "location"}]} of the server that `conn` is to. What an upgrade cannot be made with has
 * "problem" and "hint", too: links and reflinks are tried. {"error"}: they are not known.
 */
extern json_t *spaces_look(const Upgrade *upgrade, PGconn *conn);

/*
 * {"rows": [{"folder", "needed", "free"}]} in bytes, one for each file system; the first is that of `folder`, where
 * the new data directory will be. {"error"}: it is not known.
 */
extern json_t *spaces_room(const Upgrade *upgrade, PGconn *conn, const char *folder);

/* A file is linked or cloned, by the mode, under a name of ours into the folder, and removed. -1 with errno. */
extern int	spaces_try_link(const Upgrade *upgrade, const char *from, const char *folder);

#endif							/* PINGPONG_AGENT_UPGRADE_SPACES_H */
