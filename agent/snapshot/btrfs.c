/*
 * btrfs.c
 *		A snapshot of the subvolume of the data directory, and a copy back from it that shares the blocks.
 *
 * snapshot = btrfs SUBVOLUME [PROGRAM...]: the subvolume by its path, and what stands for "btrfs" (with sudo, say).
 * Not the subvolume is exchanged: it may be mounted, or hold more than the data directory.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <linux/magic.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/paths.h"
#include "agent/snapshot/program.h"
#include "agent/snapshot/tree.h"
#include "common/sqlstate.h"

#define PROGRAM "/usr/bin/btrfs"
#define ROOT_INODE 256			/* of a subvolume */

static int
run(const Snapshot *snapshot, char *verb, char *one, char *two)
{
	return snapshot_run(snapshot, PROGRAM, (char *[]) {"subvolume", verb, one, two, NULL}, NULL);
}

static char *
path_of(const Snapshot *snapshot)
{
	return xasprintf("%s/.pingpong-%s", snapshot->words[0], snapshot->name);
}

/* The data directory in the snapshot. */
static char *
data_in(const Snapshot *snapshot)
{
	return xasprintf("%s/.pingpong-%s%s", snapshot->words[0], snapshot->name,
					 snapshot->pg->data + strlen(snapshot->words[0]));
}

/* Asked without the program, which wants to be root for that. Each subvolume has a device number of its own. */
static bool
is_subvolume_of(const char *path, const char *data)
{
	struct statfs fs;
	struct stat root;
	struct stat its;

	return statfs(path, &fs) == 0 && fs.f_type == BTRFS_SUPER_MAGIC && stat(path, &root) == 0 &&
		root.st_ino == ROOT_INODE && stat(data, &its) == 0 && its.st_dev == root.st_dev;
}

static int
drop(const Snapshot *snapshot)
{
	char	   *path = path_of(snapshot);
	int			rc = file_exists(path) ? run(snapshot, "delete", path, NULL) : 0;

	free(path);
	return rc;
}

/* Who may make a subvolume may not always remove it. */
static int
try_rights(const Snapshot *snapshot)
{
	char	   *path = path_of(snapshot);
	int			rc = drop(snapshot) < 0 || run(snapshot, "create", path, NULL) < 0 ? -1 : drop(snapshot);

	if (rc < 0)
	{
		(void) rmdir(path);		/* for an empty one that is enough */
		action_hint(snapshot->ctx, "The agent's user must own the subvolume, which must be mounted with "
					"\"user_subvol_rm_allowed\"; or name a program with more rights behind it.");
	}
	free(path);
	return rc;
}

static bool
has_no_links(const char *path)
{
	char		itself[PATH_MAX];

	return realpath(path, itself) && strcmp(path, itself) == 0;
}

static int
check(const Snapshot *snapshot)
{
	const char *subvolume = snapshot->words[0];
	size_t		len = strlen(subvolume);
	const char *behind = snapshot->pg->data + len;

	if (strncmp(snapshot->pg->data, subvolume, len) != 0 || *behind != '/' || !has_no_links(snapshot->pg->data) ||
		!is_subvolume_of(subvolume, snapshot->pg->data))
	{
		action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" is not the subvolume of \"%s\"",
					subvolume, snapshot->pg->data);
		action_hint(snapshot->ctx, "The data directory must be a folder in it, and both be named without links.");
		return -1;
	}
	return tree_can_share(snapshot) < 0 ? -1 : try_rights(snapshot);
}

/* A folder of the snapshot, and not what a link in it leads to: that may be the data directory itself. */
static int
ready(const Snapshot *snapshot)
{
	char	   *data = data_in(snapshot);
	struct stat its;
	struct stat live;
	bool		there = stat(data, &its) == 0 && stat(snapshot->pg->data, &live) == 0 && its.st_dev != live.st_dev &&
		file_exists_in(data, "PG_VERSION");

	if (!there)
		action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is no snapshot of \"%s\" in \"%s\"",
					snapshot->pg->data, data);
	free(data);
	return there ? 0 : -1;
}

/*
 * It has what is on disk; a subvolume within it would be an empty folder there. Not a read-only one: only root may
 * remove such a one.
 */
static int
take(const Snapshot *snapshot)
{
	char	   *path = path_of(snapshot);
	int			rc = drop(snapshot) < 0 ? -1 : run(snapshot, "snapshot", snapshot->words[0], path);

	if (rc == 0)
		rc = ready(snapshot);
	free(path);
	return rc;
}

static int
restore(const Snapshot *snapshot)
{
	char	   *data = data_in(snapshot);
	int			rc = ready(snapshot) < 0 ? -1 : tree_restore(snapshot, data);

	free(data);
	return rc;
}

const SnapshotDriver snapshot_btrfs = {"btrfs", 1, check, take, ready, restore, drop};
