/*
 * alone.c
 *		A file system that goes back as a whole.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/snapshot/alone.h"
#include "common/sqlstate.h"

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

/* What file systems have of their own. */
static bool
is_nobodys(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, ".zfs") == 0 ||
		strcmp(name, "lost+found") == 0;
}

/* Folders on the way to the data directories are looked into, these themselves are not. */
static int
check_folder(const Snapshot *snapshot, const Held *held, const char *mountpoint, const char *folder)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	int			rc = dir ? 0 : action_fail(snapshot->ctx, STATE_IO_ERROR, "could not read \"%s\": %s", folder,
										   strerror(errno));

	while (rc == 0 && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", folder, entry->d_name);

		if (is_nobodys(entry->d_name))
			;
		else if (!leads_to(path, held->data) && !leads_to(path, held->other))
			rc = action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "\"%s\", mounted on \"%s\", holds \"%s\" too, which a rollback would take back",
							 snapshot->words[0], mountpoint, path);
		else if (strcmp(path, held->data) != 0 && strcmp(path, held->other) != 0)
			rc = check_folder(snapshot, held, mountpoint, path);
		free(path);
	}
	if (dir)
		closedir(dir);
	return rc;
}

int
alone_check(const Snapshot *snapshot, const char *mountpoint)
{
	Held		held;

	find_held(snapshot, &held);
	if (strcmp(mountpoint, held.data) == 0)
		return 0;
	if (!leads_to(mountpoint, held.data))
		return action_fail(snapshot->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "\"%s\", mounted on \"%s\", does not hold \"%s\"", snapshot->words[0], mountpoint,
						   snapshot->pg->data);
	return check_folder(snapshot, &held, mountpoint, mountpoint);
}
