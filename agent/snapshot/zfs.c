/*
 * zfs.c
 *		A snapshot of the dataset, restored by rollback.
 *
 * snapshot = zfs DATASET [PROGRAM...]: what stands for "zfs" (sudo, for example). A rollback takes back all of the
 * dataset, and does not refuse while a server runs on it. So it may hold the two data directories and nothing else,
 * and what the new server has written is gone then.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/snapshot/alone.h"
#include "agent/snapshot/program.h"
#include "common/sqlstate.h"

#define PROGRAM "/usr/sbin/zfs"

static char *
name_of(const Snapshot *snapshot)
{
	return xasprintf("%s@pingpong-%s", snapshot->words[0], snapshot->name);
}

static int
check_contents(const Snapshot *snapshot, char *mountpoint)
{
	mountpoint[strcspn(mountpoint, "\n")] = '\0';
	return alone_check(snapshot, mountpoint);
}

static int
check(const Snapshot *snapshot)
{
	char	   *words[] = {"list", "-H", "-o", "mountpoint", snapshot->words[0], NULL};
	Text		mountpoint = {0};
	int			rc = snapshot_run(snapshot, PROGRAM, words, &mountpoint);

	if (rc == 0)
		rc = mountpoint.data ? check_contents(snapshot, mountpoint.data) : -1;
	free(mountpoint.data);
	return rc;
}

/* 1: it is there; 0: not; -1: not known. */
static int
exists(const Snapshot *snapshot, const char *name)
{
	char	   *words[] = {"list", "-H", "-o", "name", "-t", "snapshot", "-r", snapshot->words[0], NULL};
	Text		names = {0};
	char	   *rest;
	int			there = snapshot_run(snapshot, PROGRAM, words, &names) < 0 ? -1 : 0;
	char	   *line = there == 0 && names.data ? strtok_r(names.data, "\n", &rest) : NULL;

	for (; line; line = strtok_r(NULL, "\n", &rest))
		if (strcmp(line, name) == 0)
			there = 1;
	free(names.data);
	return there;
}

static int
drop(const Snapshot *snapshot)
{
	char	   *name = name_of(snapshot);
	char	   *words[] = {"destroy", name, NULL};
	int			there = exists(snapshot, name);
	int			rc = there > 0 ? snapshot_run(snapshot, PROGRAM, words, NULL) : there;

	free(name);
	return rc;
}

static int
take(const Snapshot *snapshot)
{
	char	   *name = name_of(snapshot);
	char	   *words[] = {"snapshot", name, NULL};
	int			rc = drop(snapshot) < 0 ? -1 : snapshot_run(snapshot, PROGRAM, words, NULL);

	free(name);
	return rc;
}

static int
ready(const Snapshot *snapshot)
{
	char	   *name = name_of(snapshot);
	int			there = exists(snapshot, name);

	if (there == 0)
		action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is no snapshot \"%s\"", name);
	free(name);
	return there > 0 ? check(snapshot) : -1;
}

/* Without -r: it fails where somebody has taken snapshots since, which it would destroy. */
static int
restore(const Snapshot *snapshot)
{
	char	   *name = name_of(snapshot);
	char	   *words[] = {"rollback", name, NULL};
	int			rc = check(snapshot) < 0 ? -1 : snapshot_run(snapshot, PROGRAM, words, NULL);

	free(name);
	return rc;
}

const SnapshotDriver snapshot_zfs = {"zfs", 1, check, take, ready, restore, drop};
