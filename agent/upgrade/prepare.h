/*
 * prepare.h
 *		upgrade.prepare, upgrade.discard: what an upgrade needs, made and tried while the server serves.
 */
#ifndef PINGPONG_AGENT_UPGRADE_PREPARE_H
#define PINGPONG_AGENT_UPGRADE_PREPARE_H

#include "agent/job/action.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/upgrade.h"

/*
 * {"to_version", "mode", "jobs", "carry"}: everything is looked at (suits.h), the new cluster is made with the
 * locale, encoding, segment size and checksums of the old one, gets its configuration (newconf.h), and "pg_upgrade
 * --check" is run against the serving server. Repeated, it begins anew. "standbys": the names of those that may
 * stream from it.
 *
 * On a standby: the new directory holds a cluster with this server's configuration, until the copy of the new primary
 * replaces it.
 */
extern int	action_upgrade_prepare(ActionContext *ctx, json_t *params, json_t *result);

/* What that does on a standby, by itself. */
extern int	upgrade_prepare_standby(const Upgrade *upgrade, json_t *params, json_t *result);

/*
 * The undo: the new directory is emptied, if this run has made it. `result` gets "known": whether this host remembers
 * the run at all. 55000: pg_upgrade has begun, and is not undone.
 */
extern int	action_upgrade_discard(ActionContext *ctx, json_t *params, json_t *result);

/* What pg_upgrade is run with; `check`: beside the serving server. Its exit status is 0, or the job fails. */
extern int	upgrade_run_tool(const Upgrade *upgrade, bool check, int timeout_ms);

/*
 * Empties the new data directory, which may be a mount point; a server of ours there is ended first. 55000: it holds
 * another cluster than the one that we have made. What pg_upgrade has logged there goes to its work folder.
 */
extern int	upgrade_empty_new(const Upgrade *upgrade, const UpgradeRecord *record);

/* The same on the way back: what cannot be emptied must not keep the old server down. It is left, and logged. */
extern void upgrade_give_up_new(const Upgrade *upgrade, const UpgradeRecord *record);

#endif							/* PINGPONG_AGENT_UPGRADE_PREPARE_H */
