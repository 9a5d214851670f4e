/*
 * folder.c
 *		A data directory that is emptied and filled, and may be the root of a file system.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/upgrade/folder.h"

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

int
folder_clear(const char *data)
{
	DIR		   *dir = opendir(data);
	struct dirent *entry;
	int			rc = dir || errno == ENOENT ? 0 : -1;

	while (rc == 0 && dir && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", data, entry->d_name);

		if (is_own_entry(entry->d_name))
			rc = remove_tree(path);
		free(path);
	}
	if (dir)
		closedir(dir);
	return rc;
}
