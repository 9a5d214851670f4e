/*
 * zfs.c
 *		A snapshot of the dataset, restored by rollback.
 *
 * snapshot = zfs DATASET [PROGRAM...]: what stands for "zfs" (sudo, for example). A rollback takes back all of the
 * dataset, and does not refuse while a server runs on it. So it may hold the two data directories and nothing else,
 * and what the new server has written is gone then.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/snapshot/program.h"
#include "agent/snapshot/tree.h"
#include "common/sqlstate.h"

#define PROGRAM "/usr/sbin/zfs"

static char *
name_of(const Snapshot *snapshot)
{
	return xasprintf("%s@pingpong-%s", snapshot->words[0], snapshot->name);
}

/* ---- what is in the dataset ---- */

/* The folders themselves, without links; "": there is none. */
typedef struct Held
{
	char		data[PATH_MAX];
	char		other[PATH_MAX];
} Held;

static bool
leads_to(const char *path, const char *data)
{
	size_t		len = strlen(path);

	return strncmp(data, path, len) == 0 && (data[len] == '/' || data[len] == '\0');
}

static void
find_held(const Snapshot *snapshot, Held *held)
{
	if (!realpath(snapshot->pg->data, held->data))
		held->data[0] = '\0';
	if (!snapshot->other || !realpath(snapshot->other, held->other))
		held->other[0] = '\0';
}

/* Folders on the way to the data directories are looked into, these themselves are not. */
static int
check_folder(const Snapshot *snapshot, const Held *held, const char *folder)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	int			rc = dir ? 0 : action_fail(snapshot->ctx, STATE_IO_ERROR, "could not read \"%s\": %s", folder,
										   strerror(errno));

	while (rc == 0 && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", folder, entry->d_name);

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, ".zfs") == 0)
			;
		else if (!leads_to(path, held->data) && !leads_to(path, held->other))
			rc = action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "dataset \"%s\" holds \"%s\" too, which a rollback would take back", snapshot->words[0],
							 path);
		else if (strcmp(path, held->data) != 0 && strcmp(path, held->other) != 0)
			rc = check_folder(snapshot, held, path);
		free(path);
	}
	if (dir)
		closedir(dir);
	return rc;
}

static int
check_contents(const Snapshot *snapshot, char *mountpoint)
{
	Held		held;

	find_held(snapshot, &held);
	mountpoint[strcspn(mountpoint, "\n")] = '\0';
	if (strcmp(mountpoint, held.data) == 0)
		return 0;
	if (!leads_to(mountpoint, held.data))
		return action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "dataset \"%s\", mounted on \"%s\", does not hold \"%s\"", snapshot->words[0], mountpoint,
						   snapshot->pg->data);
	return check_folder(snapshot, &held, mountpoint);
}

/* ---- the driver ---- */

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
