/*
 * look.h
 *		pg.look: how this node is this moment, and whether the old primary can be reached from here.
 */
#ifndef PINGPONG_AGENT_ACTION_LOOK_H
#define PINGPONG_AGENT_ACTION_LOOK_H

#include "agent/job/action.h"

/*
 * pg.look {"primary":{"host","port"}}: changes nothing. The result:
 * role: none (no server here), down, standby, sealed, primary; unknown: it runs and does not answer, "error" says
 * how.
 * running, epoch, claimed, claimed_by (the run), hooks (names). Of a server that answers: timeline, system, received,
 * replayed, replaying (WAL is left to be replayed), streaming, sender ("host:port"), heard_ms (how long ago it had a
 * word from there), sync_names, error.
 * reach: {"reached", "error"}: a PostgreSQL server answers at that address, whatever it says; without "primary":
 * none.
 */
extern int	action_pg_look(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_ACTION_LOOK_H */
