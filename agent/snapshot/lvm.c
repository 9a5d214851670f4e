/*
 * lvm.c
 *		A snapshot of the thin logical volume, merged back into it.
 *
 * snapshot = lvm VG/LV [PROGRAM...]: the words are put before each program (sudo -n, for example). The volume goes
 * back as a whole, so it may hold the two data directories and nothing else. A thin one only: a snapshot of another
 * kind becomes invalid when it is full, and none can be made of it. What is merged is a snapshot of the snapshot,
 * since that one has to stay. For the merge the volume is unmounted; where it was mounted is kept in a file, for
 * whoever goes on when this process dies in between.
 */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/snapshot/alone.h"
#include "agent/snapshot/program.h"
#include "common/sqlstate.h"

#define LVS "/usr/sbin/lvs"
#define LVCREATE "/usr/sbin/lvcreate"
#define LVREMOVE "/usr/sbin/lvremove"
#define LVCONVERT "/usr/sbin/lvconvert"
#define MOUNT "/usr/bin/mount"
#define UMOUNT "/usr/bin/umount"

static int
run(const Snapshot *snapshot, char *program, char *const *words, Text *output)
{
	char	  **all = NULL;
	int			rc;

	if (snapshot->words[1])
		text_append(&all, xstrdup(program));
	for (; *words; words++)
		text_append(&all, xstrdup(*words));
	rc = snapshot_run(snapshot, program, all, output);
	text_free_list(all);
	return rc;
}

/* ---- names ---- */

/* VG/pingpong-NAME, and of what is merged VG/pingpong-NAME-back; malloc'd. */
static char *
volume_of(const Snapshot *snapshot, const char *suffix)
{
	const char *volume = snapshot->words[0];

	return xasprintf("%.*s/pingpong-%s%s", (int) strcspn(volume, "/"), volume, snapshot->name, suffix);
}

/* Where the volume is mounted is kept there. */
static char *
file_of(const Snapshot *snapshot)
{
	return xasprintf("%s/snapshot-%s.mount", snapshot->ctx->config->state_dir, snapshot->name);
}

static int
fail(const Snapshot *snapshot, const char *what)
{
	return action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "volume \"%s\" %s", snapshot->words[0], what);
}

/* ---- what is there ---- */

/* The folder above which another file system begins. */
static bool
mountpoint_of(const char *path, char *point)
{
	struct stat here;
	struct stat above;

	if (!realpath(path, point) || stat(point, &here) < 0)
		return false;
	for (char *slash; (slash = strrchr(point, '/')) && slash != point; *slash = '\0')
	{
		char	   *parent = xasprintf("%s/..", point);
		bool		ends = stat(parent, &above) < 0 || above.st_dev != here.st_dev;

		free(parent);
		if (ends)
			return true;
	}
	return false;				/* a data directory in the root's file system */
}

static bool
is_mounted(const char *point)
{
	char	   *parent = xasprintf("%s/..", point);
	struct stat here;
	struct stat above;
	bool		mounted = stat(point, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;

	free(parent);
	return mounted;
}

/* Is it thin, and what that folder lies in? */
static int
check_volume(const Snapshot *snapshot, const char *point)
{
	char	   *words[] = {"--noheadings", "--separator=:", "--options=lv_kernel_major,lv_kernel_minor,segtype",
	snapshot->words[0], NULL};
	Text		output = {0};
	struct stat its;
	unsigned	major_no;
	unsigned	minor_no;
	char		type[32] = "";
	int			rc = run(snapshot, LVS, words, &output);

	if (rc < 0)
		;
	else if (!output.data || sscanf(output.data, " %u:%u:%31s", &major_no, &minor_no, type) != 3)
		rc = fail(snapshot, "is not known to lvs");
	else if (strcmp(type, "thin") != 0)
		rc = fail(snapshot, "is not a thin one");
	else if (stat(point, &its) < 0 || its.st_dev != makedev(major_no, minor_no))
		rc = fail(snapshot, "is not what the data directory lies in");
	free(output.data);
	return rc;
}

/* mount has to know the rest by itself. */
static int
check_fstab(const Snapshot *snapshot, const char *point)
{
	char	   *text = file_read("/etc/fstab", 1024 * 1024, NULL);
	bool		found = false;
	char	   *rest;

	for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line && !found; line = strtok_r(NULL, "\n", &rest))
	{
		char		where[PATH_MAX] = "";

		found = sscanf(line, " %*[^# \t] %4095s", where) == 1 && strcmp(where, point) == 0;
	}
	free(text);
	if (found)
		return 0;
	fail(snapshot, "could be unmounted, and not mounted again");
	action_hint(snapshot->ctx, "Enter \"%s\" in /etc/fstab.", point);
	return -1;
}

/* 1: it is there; 0: not; -1: not known. */
static int
exists(const Snapshot *snapshot, const char *volume)
{
	char	   *group = xasprintf("%.*s", (int) strcspn(volume, "/"), volume);
	char	   *words[] = {"--noheadings", "--options=lv_name", group, NULL};
	Text		names = {0};
	int			there = run(snapshot, LVS, words, &names) < 0 ? -1 : 0;
	char	   *rest;

	for (char *name = names.data ? strtok_r(names.data, " \n", &rest) : NULL; there == 0 && name;
		 name = strtok_r(NULL, " \n", &rest))
		if (strcmp(name, volume + strlen(group) + 1) == 0)
			there = 1;
	free(names.data);
	free(group);
	return there;
}

/* ---- one volume ---- */

static int
copy_volume(const Snapshot *snapshot, char *from, char *to)
{
	char	   *words[] = {"--snapshot", "--setactivationskip=n", "--name", strchr(to, '/') + 1, from, NULL};

	return run(snapshot, LVCREATE, words, NULL);
}

static int
remove_volume(const Snapshot *snapshot, const char *suffix)
{
	char	   *volume = volume_of(snapshot, suffix);
	int			there = exists(snapshot, volume);
	int			rc = there <= 0 ? there : run(snapshot, LVREMOVE, (char *[]) {"--yes", volume, NULL}, NULL);

	free(volume);
	return rc;
}

/* ---- the driver ---- */

static int
check(const Snapshot *snapshot)
{
	char		point[PATH_MAX];

	if (!mountpoint_of(snapshot->pg->data, point))
		return fail(snapshot, "is not what the data directory lies in");
	return check_volume(snapshot, point) < 0 || check_fstab(snapshot, point) < 0 ? -1 : alone_check(snapshot, point);
}

static int
drop(const Snapshot *snapshot)
{
	char	   *file = file_of(snapshot);
	int			rc = remove_volume(snapshot, "-back") < 0 ? -1 : remove_volume(snapshot, "");

	if (rc == 0)
		(void) unlink(file);
	free(file);
	return rc;
}

static int
take(const Snapshot *snapshot)
{
	char		point[PATH_MAX];
	char	   *name = volume_of(snapshot, "");
	char	   *file = file_of(snapshot);
	int			rc = check(snapshot) < 0 || drop(snapshot) < 0 ? -1 : 0;

	if (rc == 0 && (!mountpoint_of(snapshot->pg->data, point) ||
					file_write_atomic(file, point, strlen(point), 0600, true) < 0))
		rc = action_fail(snapshot->ctx, STATE_IO_ERROR, "could not write \"%s\"", file);
	if (rc == 0)
		rc = copy_volume(snapshot, snapshot->words[0], name);
	free(file);
	free(name);
	return rc;
}

/* Where the volume was mounted, malloc'd. NULL: there is no such snapshot, and the job has failed. */
static char *
point_of_snapshot(const Snapshot *snapshot)
{
	char	   *name = volume_of(snapshot, "");
	char	   *file = file_of(snapshot);
	char	   *point = file_read(file, PATH_MAX, NULL);
	int			there = point ? exists(snapshot, name) : 0;

	if (there == 0)
		action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is no snapshot \"%s\"", name);
	if (there <= 0)
	{
		free(point);
		point = NULL;
	}
	free(file);
	free(name);
	return point;
}

static int
ready(const Snapshot *snapshot)
{
	char	   *point = point_of_snapshot(snapshot);
	/* not mounted: it is being restored, and was looked at before */
	int			rc = !point ? -1 : is_mounted(point) ? check(snapshot) : 0;

	free(point);
	return rc;
}

/* It is mounted when that ends well, with what was in the snapshot. */
static int
merge(const Snapshot *snapshot, char *point)
{
	char	   *name = volume_of(snapshot, "");
	char	   *back = volume_of(snapshot, "-back");
	int			rc = remove_volume(snapshot, "-back") < 0 || copy_volume(snapshot, name, back) < 0 ||
		(is_mounted(point) && run(snapshot, UMOUNT, (char *[]) {point, NULL}, NULL) < 0) ? -1 : 0;

	if (rc == 0 && is_mounted(point))
		rc = fail(snapshot, "is mounted still");
	if (rc == 0)
		rc = run(snapshot, LVCONVERT, (char *[]) {"--yes", "--merge", back, NULL}, NULL);
	/* with the old contents or the new ones: what is not mounted serves nobody */
	if (!is_mounted(point) && run(snapshot, MOUNT, (char *[]) {point, NULL}, NULL) < 0)
		rc = -1;
	free(back);
	free(name);
	return rc == 0 ? check_volume(snapshot, point) : -1;
}

static int
restore(const Snapshot *snapshot)
{
	char	   *point = ready(snapshot) < 0 ? NULL : point_of_snapshot(snapshot);
	int			rc = point ? merge(snapshot, point) : -1;

	free(point);
	return rc;
}

const SnapshotDriver snapshot_lvm = {"lvm", 1, check, take, ready, restore, drop};
