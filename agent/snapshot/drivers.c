/*
 * drivers.c
 *		The drivers of snapshots.
 */
#include <stddef.h>
#include <string.h>

#include "agent/snapshot/drivers.h"
#include "common/sqlstate.h"

static const SnapshotDriver *const drivers[] = {
	&snapshot_reflink, &snapshot_btrfs, &snapshot_zfs, &snapshot_lvm, &snapshot_command, NULL
};

static int
count(char **words)
{
	int			n = 0;

	while (words[n])
		n++;
	return n;
}

const SnapshotDriver *
snapshot_driver(ActionContext *ctx, const PgInstance *pg, Snapshot *snapshot)
{
	if (!pg->snapshot || !pg->snapshot[0])
		return NULL;
	for (int i = 0; drivers[i]; i++)
		if (strcmp(drivers[i]->name, pg->snapshot[0]) == 0)
		{
			snapshot->ctx = ctx;
			snapshot->pg = pg;
			snapshot->words = pg->snapshot + 1;
			if (count(snapshot->words) >= drivers[i]->least)
				return drivers[i];
			action_fail(ctx, STATE_INVALID_PARAMETER, "option \"snapshot\" of [%s]: \"%s\" needs more words",
						pg->section, pg->snapshot[0]);
			return NULL;
		}
	action_fail(ctx, STATE_INVALID_PARAMETER, "option \"snapshot\" of [%s]: there is no \"%s\"", pg->section,
				pg->snapshot[0]);
	action_hint(ctx, "It is reflink, btrfs SUBVOLUME, zfs DATASET, lvm VG/LV or command HOOK.");
	return NULL;
}
