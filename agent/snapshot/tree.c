/*
 * tree.c
 *		The contents of a data directory, copied so that they share their blocks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/snapshot/tree.h"
#include "common/sqlstate.h"

#define COPY_TIMEOUT_MS 86400000

static bool
is_content(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "lost+found") != 0 &&
		strcmp(name, TREE_STORE) != 0;
}

/* 0; -1 with errno. */
static int
each_entry(const char *folder, int (*visit) (const char *path, void *argument), void *argument)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	int			rc = dir ? 0 : -1;

	while (rc == 0 && (errno = 0, entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", folder, entry->d_name);

		if (is_content(entry->d_name))
			rc = visit(path, argument);
		free(path);
	}
	if (rc == 0 && errno != 0)
		rc = -1;
	if (dir)
		closedir(dir);
	return rc;
}

int
tree_is_whole(const Snapshot *snapshot)
{
	Layout		layout = {0};
	int			rc = layout_read(snapshot->ctx, snapshot->pg->data, &layout);

	if (rc == 0 && layout.n_parts > 0)
	{
		rc = action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "a snapshot of \"%s\" would not have \"%s\"", snapshot->pg->data, layout.parts[0].path);
		action_hint(snapshot->ctx, "Use mode copy or clone. Without the option \"snapshot\" mode link is possible, "
					"and has no way back.");
	}
	layout_free(&layout);
	return rc;
}

int
tree_can_share(const Snapshot *snapshot)
{
	char	   *from = data_path(snapshot->pg, "PG_VERSION");
	char	   *to = xasprintf("%s/.pingpong-share.%d", snapshot->pg->data, (int) getpid());
	int			rc;

	unlink(to);
	rc = file_clone(from, to);
	if (rc < 0)
	{
		action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "files in \"%s\" cannot share their blocks: %s",
					snapshot->pg->data, strerror(errno));
		action_hint(snapshot->ctx, "The file system must have reflinks (xfs, btrfs).");
	}
	unlink(to);
	free(to);
	free(from);
	return rc;
}

static int
add_argument(const char *path, void *argument)
{
	text_append((char ***) argument, xstrdup(path));
	return 0;
}

/* All of the file system: the copies are many. */
static int
sync_folder(ActionContext *ctx, const char *folder)
{
	int			fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int			rc = fd >= 0 ? syncfs(fd) : -1;

	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", folder, strerror(errno));
	if (fd >= 0)
		close(fd);
	return rc;
}

int
tree_copy(const Snapshot *snapshot, const char *from, const char *to)
{
	ChildOptions options = {.timeout_ms = COPY_TIMEOUT_MS};
	char	  **argv = NULL;
	int			rc;

	text_append(&argv, xstrdup("/bin/cp"));
	text_append(&argv, xstrdup("--archive"));
	text_append(&argv, xstrdup("--reflink=always"));
	text_append(&argv, xasprintf("--target-directory=%s", to));
	rc = each_entry(from, add_argument, &argv);
	if (rc < 0)
		action_fail(snapshot->ctx, STATE_IO_ERROR, "could not read \"%s\": %s", from, strerror(errno));
	else
		rc = child_run_or_fail(snapshot->ctx, argv, &options);
	text_free_list(argv);
	return rc == 0 ? sync_folder(snapshot->ctx, to) : -1;
}

static int
remove_entry(const char *path, void *argument)
{
	return remove_tree(path);
}

int
tree_restore(const Snapshot *snapshot, const char *from)
{
	if (each_entry(snapshot->pg->data, remove_entry, NULL) < 0)
		return action_fail(snapshot->ctx, STATE_IO_ERROR, "could not empty \"%s\": %s", snapshot->pg->data,
						   strerror(errno));
	return tree_copy(snapshot, from, snapshot->pg->data);
}
