/*
 * standby.h
 *		pg.rejoin of a node whose primary has become a server of another major.
 */
#ifndef PINGPONG_AGENT_UPGRADE_STANDBY_H
#define PINGPONG_AGENT_UPGRADE_STANDBY_H

#include "agent/job/action.h"

/*
 * pg.rejoin. Where the server to follow is of the major of a successor that this host has, and the node's own is of
 * another: the successor becomes a standby by a base backup, made while the old server runs, and the main one. The
 * old data directory stays as it is. If it fails the old server runs on. params as of pg.rejoin, and "carry"
 * (prepare.h), for a node that was not prepared. Where an upgrade was taken back, the former server is that
 * successor, and has its data still.
 *
 * Anywhere else it is what rejoin/run.h says.
 */
extern int	action_upgrade_rejoin(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_STANDBY_H */
