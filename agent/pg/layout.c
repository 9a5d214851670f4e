/*
 * layout.c
 *		Where a data directory and its parts are.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/files.h"
#include "agent/pg/layout.h"
#include "common/sqlstate.h"

#define SPACES "pg_tblspc"
#define OURS "pingpong."		/* and pingpong.seal, which belongs to the server */

static int
add_part(ActionContext *ctx, const char *where, const char *link, Layout *layout)
{
	char	   *path = xasprintf("%s/%s", where, link);
	struct stat st;
	char	   *real;
	int			rc = 0;

	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
	{
		real = realpath(path, NULL);
		if (!real)
			rc = action_fail(ctx, STATE_IO_ERROR, "could not find where \"%s\" points to: %s", path, strerror(errno));
		else if (layout->n_parts == LAYOUT_PARTS_MAX)
		{
			free(real);
			rc = action_fail(ctx, STATE_LIMIT_EXCEEDED, "there are more than %d tablespaces", LAYOUT_PARTS_MAX - 1);
		}
		else
			layout->parts[layout->n_parts++] = (LayoutPart) {xstrdup(link), real};
	}
	free(path);
	return rc;
}

int
layout_read(ActionContext *ctx, const char *where, Layout *layout)
{
	char	   *spaces = xasprintf("%s/" SPACES, where);
	DIR		   *dir = opendir(spaces);
	struct dirent *entry;
	int			rc;

	memset(layout, 0, sizeof(*layout));
	layout->data = realpath(ctx->pg->data, NULL);
	if (!layout->data)
		layout->data = xstrdup(ctx->pg->data);
	rc = add_part(ctx, where, "pg_wal", layout);
	while (rc == 0 && dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
		{
			char	   *link = xasprintf(SPACES "/%s", entry->d_name);

			rc = add_part(ctx, where, link, layout);
			free(link);
		}
	if (dir)
		closedir(dir);
	free(spaces);
	if (rc < 0)
		layout_free(layout);
	return rc;
}

void
layout_free(Layout *layout)
{
	for (int i = 0; i < layout->n_parts; i++)
	{
		free(layout->parts[i].link);
		free(layout->parts[i].path);
	}
	free(layout->data);
	memset(layout, 0, sizeof(*layout));
}

/* Our own folders stay, and what a file system has in its root. */
bool
layout_stays(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0 ||
		strcmp(name, ".snapshot") == 0 || strcmp(name, ".zfs") == 0 || strcmp(name, LAYOUT_VERSION_FILE) == 0 ||
		strcmp(name, LAYOUT_WORK) == 0 || strcmp(name, OURS "new") == 0 || strcmp(name, OURS "old") == 0;
}

/* Mounts are told by their number, 0: not known. */
static unsigned long long
mount_of(const char *path, int flags)
{
	struct statx st;

	return statx(AT_FDCWD, path, flags | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) == 0 && (st.stx_mask & STATX_MNT_ID) ?
		st.stx_mnt_id : 0;
}

/* What is mounted inside the folder cannot be moved out of it, which would only show in the middle of the move. */
static char *
mounted_inside(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	char	   *problem = NULL;

	while (dir && !problem && (entry = readdir(dir)))
		if (!layout_stays(entry->d_name))
		{
			char	   *inside = xasprintf("%s/%s", path, entry->d_name);
			unsigned long long mount = mount_of(inside, AT_SYMLINK_NOFOLLOW);

			if (mount != 0 && mount != mount_of(path, 0))
				problem = xasprintf("\"%s\" is a mount point and cannot be moved", inside);
			free(inside);
		}
	if (dir)
		closedir(dir);
	return problem;
}

static char *
unusable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? NULL : xasprintf("\"%s\": %s", path, strerror(errno));
	if (access(path, R_OK | W_OK | X_OK) < 0)
		return xasprintf("the agent may not change \"%s\": %s", path, strerror(errno));
	return mounted_inside(path);
}

/* 0: it has none, or cannot be read. */
static int
major_of_data(const char *data)
{
	char	   *path = xasprintf("%s/" LAYOUT_VERSION_FILE, data);
	char	   *text = file_read(path, 64, NULL);
	int			major = text ? atoi(text) : 0;

	free(text);
	free(path);
	return major;
}

bool
layout_is_space(const LayoutPart *part)
{
	return strncmp(part->link, SPACES "/", strlen(SPACES "/")) == 0;
}

const LayoutPart *
layout_part(const Layout *layout, const char *link)
{
	for (int i = 0; i < layout->n_parts; i++)
		if (strcmp(layout->parts[i].link, link) == 0)
			return &layout->parts[i];
	return NULL;
}

char *
layout_space_of(const char *location, int major, int but)
{
	DIR		   *dir = opendir(location);
	struct dirent *entry;
	char	   *name = NULL;

	while (dir && !name && (entry = readdir(dir)))
		if (strncmp(entry->d_name, "PG_", 3) == 0)
		{
			int			found = atoi(entry->d_name + 3);

			if (major ? found == major : found != but)
				name = xstrdup(entry->d_name);
		}
	if (dir)
		closedir(dir);
	return name;
}

/*
 * In the location of a tablespace each major has a folder of its own (PG_15_202209061), as an upgrade in place leaves
 * it. pg_rewind would take the other server's tables for something that the source does not have, and remove them.
 * Without `major` they must at least be of one.
 */
static char *
shared_by_majors(const char *space, int major)
{
	char	   *first = layout_space_of(space, 0, 0);
	char	   *other = first ? layout_space_of(space, 0, major ? major : atoi(first + 3)) : NULL;
	char	   *problem = other ? xasprintf("\"%s\" has \"%s\" of another server in it", space, other) : NULL;

	free(other);
	free(first);
	return problem;
}

/* Of the first tablespace that has one. */
static char *
problem_of_spaces(const PgInstance *pg, char *(*problem_of) (const char *space, int major))
{
	int			major = major_of_data(pg->data);
	char	   *spaces = xasprintf("%s/" SPACES, pg->data);
	DIR		   *dir = opendir(spaces);
	struct dirent *entry;
	char	   *problem = NULL;

	while (!problem && dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
		{
			char	   *path = xasprintf("%s/%s", spaces, entry->d_name);

			problem = problem_of(path, major);
			free(path);
		}
	if (dir)
		closedir(dir);
	free(spaces);
	return problem;
}

static char *
unusable_space(const char *space, int major)
{
	(void) major;
	return unusable(space);
}

char *
layout_problem(const PgInstance *pg)
{
	char	   *wal = xasprintf("%s/pg_wal", pg->data);
	char	   *problem = unusable(pg->data);

	if (!problem)
		problem = unusable(wal);
	free(wal);
	return problem ? problem : problem_of_spaces(pg, unusable_space);
}

char *
layout_rewind_problem(const PgInstance *pg)
{
	char	   *problem = layout_problem(pg);

	return problem ? problem : problem_of_spaces(pg, shared_by_majors);
}

char *
layout_work(const PgInstance *pg, const char *name)
{
	return xasprintf("%s/" LAYOUT_WORK "/%s", pg->data, name);
}

char *
layout_part_work(const LayoutPart *part, const char *name)
{
	return xasprintf("%s/" OURS "%s", part->path, name);
}

/* With the mode of the data directory: pg_basebackup and the server insist on 0700 or 0750. */
int
layout_make_work(ActionContext *ctx)
{
	const char *data = ctx->pg->data;
	char	   *work = layout_work(ctx->pg, "");
	struct stat st;
	int			mode = stat(data, &st) == 0 && (st.st_mode & 0777) == 0750 ? 0750 : 0700;
	int			rc = make_directory(data, 0700);

	work[strlen(work) - 1] = '\0';
	if (rc == 0)
		rc = make_directory(work, mode);
	if (rc == 0)
		rc = chmod(work, mode);
	if (rc == 0)
		rc = file_fsync_path(data);
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not create \"%s\": %s", work, strerror(errno));
	free(work);
	return rc;
}

bool
layout_has_work(const PgInstance *pg)
{
	char	   *work = layout_work(pg, "");
	bool		there = file_exists(work);

	free(work);
	return there;
}
