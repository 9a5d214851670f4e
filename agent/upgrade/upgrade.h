/*
 * upgrade.h
 *		An upgrade in place: the main server of this host and its successor of another major.
 */
#ifndef PINGPONG_AGENT_UPGRADE_UPGRADE_H
#define PINGPONG_AGENT_UPGRADE_UPGRADE_H

#include <stdbool.h>

#include "agent/job/action.h"

/* Of pg_upgrade's servers; in the socket folder only: it lets them listen nowhere else. */
#define UPGRADE_PORT_OF_OLD 50432
#define UPGRADE_PORT_OF_NEW 50433

/* In the new data directory while it fails, and then in the work folder. */
#define UPGRADE_LOGS "pg_upgrade_output.d"

typedef enum UpgradeMode
{
	UPGRADE_COPY,				/* the old directory stays as it is */
	UPGRADE_LINK,				/* hard links: no way back once the new server has run */
	UPGRADE_CLONE,				/* reflinks, where the file system has them */
	UPGRADE_SWAP,				/* the files are moved, from 18 on: no way back once pg_upgrade has begun */
	UPGRADE_STANDBY				/* a copy of the new primary: not asked for, the server is a standby */
} UpgradeMode;

/* What an order means on this host. `old` and `new` are of the configuration that the job holds. */
typedef struct Upgrade
{
	ActionContext *ctx;
	const PgInstance *old;
	const PgInstance *new;
	int			from;			/* majors */
	int			to;
	UpgradeMode mode;
	int			jobs;			/* of pg_upgrade, 1 to 64 */
} Upgrade;

extern const char *upgrade_mode_name(UpgradeMode mode);

/* By its mode: the new directory needs no room for the files, and must be where they can be shared. */
extern bool upgrade_shares_files(const Upgrade *upgrade);

/* By its mode: there is a way back from the new server only by a snapshot of the old one. */
extern bool upgrade_takes_files(const Upgrade *upgrade);

/*
 * From params {"to_version", "mode", "jobs"}. Fails the job: 22023, a parameter; 42704, no successor of that major is
 * configured; 0A000, it is not under the control of pg_ctl or pg_ctlcluster.
 *
 * Once the successor has become the main one `old` is it no longer: with the record of this run (record.h) both are
 * found by their folders, and "to_version" is not needed.
 */
extern int	upgrade_open(ActionContext *ctx, json_t *params, Upgrade *upgrade);

/* Is a successor of another major than the node's own server configured? `ctx` is of the main server. */
extern bool upgrade_has_successor(ActionContext *ctx);

/* The same for a standby, which becomes one of a primary of that major. The main server is still the old one. */
extern int	upgrade_open_standby(ActionContext *ctx, int to, Upgrade *upgrade);

/*
 * Makes the instance the main one of this host: on disk, and in the configuration of this process, which is read
 * again. 55000: it cannot be read. Repeated, it does no harm. It, and not the other, starts with the host (boot.h).
 */
extern int	upgrade_make_main(ActionContext *ctx, const PgInstance *pg);

/* Where pg_upgrade works, in state_dir; malloc'd. */
extern char *upgrade_work_folder(const Upgrade *upgrade);

/*
 * Could upgrade_make_main() be done now? It has to, in the window: the configuration can be read again (55000: no),
 * and there is room for the name (58030: no), which is kept for it.
 */
extern int	upgrade_ready_main(ActionContext *ctx);

/* The context for orders to the one or the other server: the same job, other `pg`. */
extern ActionContext upgrade_on(const Upgrade *upgrade, const PgInstance *pg);

#endif							/* PINGPONG_AGENT_UPGRADE_UPGRADE_H */
