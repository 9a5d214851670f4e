/*
 * folder.c
 *		The folder that is to be the new data directory: is something in it?
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
folder_clear(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	int			rc = dir || errno == ENOENT ? 0 : -1;

	while (rc == 0 && dir && (entry = readdir(dir)))
	{
		char	   *one = xasprintf("%s/%s", path, entry->d_name);

		if (is_own_entry(entry->d_name))
			rc = remove_tree(one);
		free(one);
	}
	if (dir)
		closedir(dir);
	return rc;
}
