/*
 * back.h
 *		The way back behind the opening, by order, and the end of it.
 *
 * All take {"of": the run of the upgrade}, and fail (55000) where this host remembers another one.
 */
#ifndef PINGPONG_AGENT_UPGRADE_BACK_H
#define PINGPONG_AGENT_UPGRADE_BACK_H

#include "agent/job/action.h"

/*
 * upgrade.back: the new server, which the run of this order has sealed, goes down, and the old one comes up, sealed
 * by the run of the upgrade: its worker finds that undone, and opens it. What the new server has written stays in its
 * data directory. {"check": true}: whether it could be done, and nothing is. 55000: no; the files were linked, or the
 * old directory is not what the upgrade has left.
 */
extern int	action_upgrade_back(ActionContext *ctx, json_t *params, json_t *result);

/* upgrade.keep: the undo of that, as long as the old server was not told to start. 55000: it was. */
extern int	action_upgrade_keep(ActionContext *ctx, json_t *params, json_t *result);

/*
 * upgrade.finalize: removes what is in the data directory of the server that is not the main one. 55000: a server
 * runs there, or it is not the one that is remembered. {"standby": true}: of a node that may remember another run, or
 * none. `result` gets "path" ("": there was nothing).
 */
extern int	action_upgrade_finalize(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_BACK_H */
