/*
 * extensions.h
 *		ALTER EXTENSION ... UPDATE, behind an upgrade.
 */
#ifndef PINGPONG_AGENT_UPGRADE_EXTENSIONS_H
#define PINGPONG_AGENT_UPGRADE_EXTENSIONS_H

#include "agent/job/action.h"

/*
 * upgrade.extensions: in every database that accepts connections each extension becomes of the version that this
 * installation has, in a transaction and session of its own. `result` gets "updated", "left" (those that have a way
 * of their own) and "failed", lists of sentences. Fails the job (the first one's SQLSTATE) when one failed; the
 * others are updated all the same. Repeated, it does what is left.
 */
extern int	action_upgrade_extensions(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_EXTENSIONS_H */
