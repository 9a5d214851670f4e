/*
 * record.h
 *		What this host remembers of an upgrade: state_dir/upgrade.json, on disk before what it tells is done.
 */
#ifndef PINGPONG_AGENT_UPGRADE_RECORD_H
#define PINGPONG_AGENT_UPGRADE_RECORD_H

#include <stdbool.h>

#include "agent/job/action.h"

typedef enum UpgradeState
{
	RECORD_NONE,
	RECORD_DISCARDED,			/* it was given up, and nothing of it is left */
	RECORD_REVERTED,			/* pg_upgrade was undone, and the new directory is empty */
	RECORD_PREPARED,			/* the new directory is ours, and may be emptied */
	RECORD_CROSSING,			/* pg_upgrade has begun: the same */
	RECORD_STARTED,				/* the new server was started: in link mode there is no way back */
	RECORD_DONE,				/* it is the main one */
	RECORD_FINAL				/* and of the other nothing is left */
} UpgradeState;

typedef enum SnapshotState
{
	SNAPSHOT_NONE,
	SNAPSHOT_BEGUN,				/* whether it is whole is not known */
	SNAPSHOT_TAKEN
} SnapshotState;

typedef struct UpgradeRecord
{
	UpgradeState state;
	char		run[101];
	char		back[101];		/* the run by whose order it goes back behind the opening; "": none */
	SnapshotState snapshot;		/* of the old data directory */
	bool		clearing;		/* finalize has begun to remove: no way back any more */
	bool		ran;			/* modes link and swap: the old directory's files are the new one's */
	char		mode[8];
	char		old_data[1024];
	char		new_data[1024];
	char		system[24];		/* identifier of the new cluster; "": not made yet */
	double		since_ms;		/* clock_realtime_ms() of the present state; 0: not known */
	char		checkpoint[32];	/* of the new cluster when it was made: until it has another it has not run */
} UpgradeRecord;

/* Fails the job (58030) when it cannot be read: then nothing is known. */
extern int	record_open(ActionContext *ctx, UpgradeRecord *record);

/* Is it that of the job's own run? */
extern bool record_is_own(const ActionContext *ctx, const UpgradeRecord *record);

/* The data directory that is not in use any more, and that finalize would empty; NULL: there is none. */
extern const char *record_left_over(const UpgradeRecord *record);

/* On disk, in its present state or another one; fails the job (58030). */
/*
 * On disk, in its present state or another one; fails the job (58030). Once there is a reserve a full disk does not
 * keep it from being written: the way back needs that. record_reserve() makes it, before anything is begun.
 */
extern int	record_reserve(ActionContext *ctx);
extern int	record_keep(ActionContext *ctx, const UpgradeRecord *record);
extern int	record_enter(ActionContext *ctx, UpgradeRecord *record, UpgradeState state);

#endif							/* PINGPONG_AGENT_UPGRADE_RECORD_H */
