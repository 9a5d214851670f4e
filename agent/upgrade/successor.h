/*
 * successor.h
 *		What the host has for the new server: programs, folder, room, sockets, and what its installation offers.
 */
#ifndef PINGPONG_AGENT_UPGRADE_SUCCESSOR_H
#define PINGPONG_AGENT_UPGRADE_SUCCESSOR_H

#include <jansson.h>
#include <libpq-fe.h>

#include "agent/upgrade/upgrade.h"

/* {"ok": true}; or {"ok": false, "problem": what the job failed with}, which is forgotten. */
extern json_t *successor_verdict(ActionContext *ctx, int rc);

/* Into `facts`: "programs", "version", "folder", "room", "spaces", "links", "socket", "settings", "files". */
extern void successor_look(const Upgrade *upgrade, PGconn *conn, json_t *facts);

/*
 * Into `facts`: "available", the default version of each extension of these databases in the new installation (null:
 * it has no control file), and "libraries", whether it has each library. {"error"}: it does not tell where they lie.
 */
extern void successor_offers(const Upgrade *upgrade, PGconn *conn, json_t *databases, json_t *facts);

#endif							/* PINGPONG_AGENT_UPGRADE_SUCCESSOR_H */
