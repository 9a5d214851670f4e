/*
 * cross.h
 *		The window of an upgrade: the old server down, pg_upgrade, the new server up and still sealed.
 *
 * Three actions of one job, each with its undo. Until the new server was started the way back is open in each mode;
 * behind that only where the old files were not linked.
 */
#ifndef PINGPONG_AGENT_UPGRADE_CROSS_H
#define PINGPONG_AGENT_UPGRADE_CROSS_H

#include "agent/job/action.h"

/*
 * upgrade.stop: the old server, sealed by this run, goes down cleanly (pg_control says "shut down"). 55000: it is not
 * sealed by this run, or does not go down like that. Before, it is asked what it holds (compare.h). Undo
 * upgrade.serve: it is started again, and still sealed.
 */
extern int	action_upgrade_stop(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_upgrade_serve(ActionContext *ctx, json_t *params, json_t *result);

/*
 * upgrade.run: pg_upgrade, and the seal of this run in the new data directory. Not resumable: if the agent dies it is
 * undone. Undo upgrade.revert: the old directory is as before (55000: the new server has run on its files).
 */
extern int	action_upgrade_run(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_upgrade_revert(ActionContext *ctx, json_t *params, json_t *result);

/*
 * upgrade.start: the new server starts, is of the right major, is sealed by this run, holds what the old one held
 * (XX001: it does not; compare.h), and becomes the main instance. Undo upgrade.halt: it is stopped, and the
 * old one is the main instance again (55000: linked files).
 */
extern int	action_upgrade_start(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_upgrade_halt(ActionContext *ctx, json_t *params, json_t *result);

/* upgrade.statistics {"jobs"}: vacuumdb --analyze-in-stages of the main server, after an upgrade. */
extern int	action_upgrade_statistics(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_CROSS_H */
