/*
 * snapshot.c
 *		The snapshot that an upgrade in mode link takes of the old data directory.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "agent/snapshot/drivers.h"
#include "agent/snapshot/tree.h"
#include "agent/upgrade/snapshot.h"
#include "common/sqlstate.h"

/* NULL: none is configured, or the job has failed. */
static const SnapshotDriver *
driver_of(const Upgrade *upgrade, const char *name, Snapshot *snapshot)
{
	*snapshot = (Snapshot) {.name = name, .other = upgrade->new->data};
	return snapshot_driver(upgrade->ctx, upgrade->old, snapshot);
}

static bool
has_failed(const Upgrade *upgrade)
{
	return *action_error_message(upgrade->ctx) != '\0';
}

static int
no_snapshot(const Upgrade *upgrade)
{
	return action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					   "there is no snapshot of the old server, or it is not known how it was taken");
}

/* In mode link the old files are as they were until the new server runs; in mode swap they are gone at once. */
static int
without(const Upgrade *upgrade)
{
	if (upgrade->mode != UPGRADE_SWAP)
		return 0;
	action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "mode swap needs a snapshot: nothing else leads back");
	action_hint(upgrade->ctx, "Name it in the agent's configuration (option \"snapshot\" of [%s]), or use mode link.",
				upgrade->old->section);
	return -1;
}

int
upgrade_snapshot_check(const Upgrade *upgrade)
{
	Snapshot	snapshot;
	const SnapshotDriver *driver = upgrade_takes_files(upgrade) ? driver_of(upgrade, "check", &snapshot) : NULL;

	if (!driver)
		return has_failed(upgrade) ? -1 : without(upgrade);
	return tree_is_whole(&snapshot) < 0 ? -1 : driver->check(&snapshot);
}

static int
keep(const Upgrade *upgrade, UpgradeRecord *record, SnapshotState state)
{
	record->snapshot = state;
	return record_keep(upgrade->ctx, record);
}

/* A run's key, with what no file system or pool objects to. */
static void
name_from(const UpgradeRecord *record, char *name, size_t size)
{
	snprintf(name, size, "%s", record->run);
	for (char *p = name; *p; p++)
		if (!isalnum((unsigned char) *p) && *p != '-')
			*p = '_';
}

int
upgrade_snapshot_take(const Upgrade *upgrade, UpgradeRecord *record)
{
	char		name[sizeof(record->run)];
	Snapshot	snapshot;
	const SnapshotDriver *driver;

	name_from(record, name, sizeof(name));
	driver = upgrade_takes_files(upgrade) ? driver_of(upgrade, name, &snapshot) : NULL;
	if (!driver)
		return has_failed(upgrade) ? -1 : without(upgrade);
	action_progress(upgrade->ctx, -1, "snapshot by %s", driver->name);
	if (tree_is_whole(&snapshot) < 0)
		return -1;				/* there may be a tablespace since it was checked */
	if (keep(upgrade, record, SNAPSHOT_BEGUN) < 0 || driver->take(&snapshot) < 0)
		return -1;
	return keep(upgrade, record, SNAPSHOT_TAKEN);
}

/* Of the one that is remembered. NULL: it is not known any more how it was taken, and the job has failed. */
static const SnapshotDriver *
driver_of_record(const Upgrade *upgrade, const UpgradeRecord *record, char *name, size_t size, Snapshot *snapshot)
{
	const SnapshotDriver *driver;

	name_from(record, name, size);
	driver = driver_of(upgrade, name, snapshot);
	if (!driver)
		no_snapshot(upgrade);
	return driver;
}

int
upgrade_snapshot_ready(const Upgrade *upgrade, const UpgradeRecord *record)
{
	char		name[sizeof(record->run)];
	Snapshot	snapshot;
	const SnapshotDriver *driver;

	if (record->snapshot != SNAPSHOT_TAKEN)
		return no_snapshot(upgrade);
	driver = driver_of_record(upgrade, record, name, sizeof(name), &snapshot);
	return driver ? driver->ready(&snapshot) : -1;
}

int
upgrade_snapshot_restore(const Upgrade *upgrade, const UpgradeRecord *record)
{
	char		name[sizeof(record->run)];
	Snapshot	snapshot;
	const SnapshotDriver *driver;

	if (record->snapshot != SNAPSHOT_TAKEN)
		return no_snapshot(upgrade);
	driver = driver_of_record(upgrade, record, name, sizeof(name), &snapshot);
	action_progress(upgrade->ctx, -1, "restoring a snapshot");
	return driver ? driver->restore(&snapshot) : -1;
}

int
upgrade_snapshot_drop(const Upgrade *upgrade, UpgradeRecord *record)
{
	char		name[sizeof(record->run)];
	Snapshot	snapshot;
	const SnapshotDriver *driver;

	if (record->snapshot == SNAPSHOT_NONE)
		return 0;
	driver = driver_of_record(upgrade, record, name, sizeof(name), &snapshot);
	return driver && driver->drop(&snapshot) == 0 ? keep(upgrade, record, SNAPSHOT_NONE) : -1;
}
