/*
 * driver.h
 *		What a snapshot of a data directory is to an upgrade: the way back where its files were linked.
 *
 * A driver is one file, and a row in drivers.c. No server runs in the directory when one is taken or restored; that
 * is the caller's to see to, since zfs does not refuse it. Each function fails the job with 38000 (a program), 55000
 * or 58030, and may be repeated.
 */
#ifndef PINGPONG_AGENT_SNAPSHOT_DRIVER_H
#define PINGPONG_AGENT_SNAPSHOT_DRIVER_H

#include "agent/job/action.h"

typedef struct Snapshot
{
	ActionContext *ctx;
	const PgInstance *pg;		/* of whose data directory */
	const char *other;			/* another data directory, which may share its place with it */
	const char *name;			/* [A-Za-z0-9_-]; of this host's snapshots no other has it */
	char	  **words;			/* of the option "snapshot", behind the driver's name */
} Snapshot;

typedef struct SnapshotDriver
{
	const char *name;
	int			least;			/* words that it needs */
	/* could it be taken; nothing is changed. That it would be whole (tree.h) is the caller's to see to. */
	int			(*check) (const Snapshot *snapshot);
	int			(*take) (const Snapshot *snapshot);	/* one of this name that is there already is replaced */
	int			(*ready) (const Snapshot *snapshot);	/* it is there, and could be restored; nothing is changed */
	int			(*restore) (const Snapshot *snapshot);	/* the data directory is as it was; the snapshot stays */
	int			(*drop) (const Snapshot *snapshot);	/* one that is not there is no error */
} SnapshotDriver;

extern const SnapshotDriver snapshot_reflink;	/* copies of the files that share their blocks: xfs, btrfs */
extern const SnapshotDriver snapshot_btrfs; /* a snapshot of the subvolume */
extern const SnapshotDriver snapshot_zfs;	/* of the dataset, which holds nothing else; restored by rollback */
extern const SnapshotDriver snapshot_lvm;	/* of the thin volume, which holds nothing else; merged back */
extern const SnapshotDriver snapshot_command;	/* a hook of the site */

#endif							/* PINGPONG_AGENT_SNAPSHOT_DRIVER_H */
