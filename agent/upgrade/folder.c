/*
 * folder.c
 *		A data directory that is emptied and filled, and may be the root of a file system.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/datadir.h"
#include "agent/pg/layout.h"
#include "agent/upgrade/folder.h"
#include "common/sqlstate.h"

/* A file system may have something in its root, too. */
static bool
is_own_entry(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && strcmp(name, "lost+found") != 0;
}

bool
folder_is_empty(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	bool		empty = true;

	if (!dir)
		return errno == ENOENT;
	while (empty && (entry = readdir(dir)))
		empty = !is_own_entry(entry->d_name);
	closedir(dir);
	return empty;
}

/* ---- emptying ---- */

bool
folder_is_inside(const char *path, const char *folder)
{
	size_t		length = strlen(folder);

	return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static bool
has_spaces(const Layout *layout)
{
	for (int i = 0; i < layout->n_parts; i++)
		if (layout_is_space(&layout->parts[i]))
			return true;
	return false;
}

/* Whose they are is told by the name of the folder, which no two servers of one location share. */
static int
check_names(ActionContext *ctx, const char *data, const char *serves, char name[DATADIR_SPACE_MAX])
{
	char		other[DATADIR_SPACE_MAX];

	if (datadir_space_name(data, name) && datadir_space_name(serves, other) && strcmp(name, other) != 0)
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
				"it is not known which folders \"%s\" has in the locations of its tablespaces", data);
	action_hint(ctx, "Look at the links in its pg_tblspc.");
	return -1;
}

static int
check_serves(ActionContext *ctx, const char *data, const char *serves)
{
	char	   *folder = realpath(data, NULL);
	Layout		its;
	int			rc = layout_read(ctx, serves, &its);

	for (int i = 0; rc == 0 && folder && i < its.n_parts; i++)
		if (folder_is_inside(its.parts[i].path, folder))
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "\"%s\" of the server that goes on lies in \"%s\": nothing is removed",
							 its.parts[i].link, data);
	layout_free(&its);
	free(folder);
	return rc;
}

/* The link tells a later life that the folder is still to be removed, so it goes behind it. */
static int
clear_space(ActionContext *ctx, const char *data, const LayoutPart *part, const char *name)
{
	char	   *folder = xasprintf("%s/%s", part->path, name);
	char	   *link = xasprintf("%s/%s", data, part->link);
	int			rc = 0;

	if (remove_tree(folder) < 0 || file_fsync_path(part->path) < 0 || unlink(link) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", folder, strerror(errno));
	free(link);
	free(folder);
	return rc;
}

static int
clear_spaces(ActionContext *ctx, const char *data, const char *serves)
{
	char		name[DATADIR_SPACE_MAX];
	Layout		layout;
	int			rc = layout_read(ctx, data, &layout);

	if (rc == 0 && has_spaces(&layout))
		rc = check_names(ctx, data, serves, name);
	for (int i = 0; rc == 0 && i < layout.n_parts; i++)
		if (layout_is_space(&layout.parts[i]))
			rc = clear_space(ctx, data, &layout.parts[i], name);
	layout_free(&layout);
	return rc;
}

int
folder_clear(ActionContext *ctx, const char *data, const char *serves)
{
	DIR		   *dir = opendir(data);
	struct dirent *entry;
	int			rc = 0;

	if (!dir && errno == ENOENT)
		return 0;
	if (!dir)
		return action_fail(ctx, STATE_IO_ERROR, "could not open \"%s\": %s", data, strerror(errno));
	if (check_serves(ctx, data, serves) < 0 || clear_spaces(ctx, data, serves) < 0)
		rc = -1;
	while (rc == 0 && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", data, entry->d_name);

		if (is_own_entry(entry->d_name) && remove_tree(path) < 0)
			rc = action_fail(ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", path, strerror(errno));
		free(path);
	}
	closedir(dir);
	return rc;
}
