/*
 * datadir.c
 *		What a data directory tells without its server.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/datadir.h"

/*
 * Places in pg_control, on all majors: the system identifier, the catalog version, the state, the last checkpoint's
 * record and timeline.
 */
#define SYSTEM_AT 0
#define CATALOG_AT 12
#define STATE_AT 16
#define CHECKPOINT_AT 32
#define TIMELINE_AT 48

/*
 * Segments may be left from a life before; a history file is made by a promotion, or fetched with its timeline. A
 * folder that cannot be read is not one without: false.
 */
static bool
newest_history(const char *data, unsigned *newest)
{
	char	   *path = xasprintf("%s/pg_wal", data);
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	bool		read = dir != NULL;

	*newest = 0;
	while (dir && (errno = 0, entry = readdir(dir)))
	{
		unsigned	tli;

		if (strspn(entry->d_name, "0123456789ABCDEF") == 8 && strcmp(entry->d_name + 8, ".history") == 0 &&
			sscanf(entry->d_name, "%8X", &tli) == 1 && tli > *newest)
			*newest = tli;
	}
	if (dir && errno != 0)
		read = false;
	if (dir)
		closedir(dir);
	free(path);
	return read;
}

static char *
read_in(const char *data, const char *name, size_t *size)
{
	char	   *path = xasprintf("%s/%s", data, name);
	char	   *bytes = file_read(path, 65536, size);

	free(path);
	return bytes;
}

static void
read_control(const char *data, DataDir *found)
{
	size_t		size = 0;
	char	   *bytes = read_in(data, "global/pg_control", &size);
	int32_t		state;
	uint32_t	timeline;

	found->known = bytes && size >= TIMELINE_AT + sizeof(timeline);
	if (found->known)
	{
		memcpy(&found->system, bytes + SYSTEM_AT, sizeof(found->system));
		memcpy(&state, bytes + STATE_AT, sizeof(state));
		memcpy(&found->checkpoint, bytes + CHECKPOINT_AT, sizeof(found->checkpoint));
		memcpy(&timeline, bytes + TIMELINE_AT, sizeof(timeline));
		found->state = (DataState) state;
		found->checkpoint_timeline = timeline;
	}
	free(bytes);
}

/* In mode link pg_upgrade renames the old pg_control when it begins. */
bool
datadir_space_name(const char *path, char name[DATADIR_SPACE_MAX])
{
	size_t		size = 0;
	char	   *version = read_in(path, "PG_VERSION", NULL);
	char	   *control = read_in(path, "global/pg_control", &size);
	uint32_t	catalog = 0;
	int			major = version ? atoi(version) : 0;

	if (!control)
		control = read_in(path, "global/pg_control.old", &size);
	if (control && size >= CATALOG_AT + sizeof(catalog))
		memcpy(&catalog, control + CATALOG_AT, sizeof(catalog));
	snprintf(name, DATADIR_SPACE_MAX, "PG_%d_%u", major, catalog);
	free(control);
	free(version);
	return major > 0 && catalog > 0;
}

/*
 * A standby may be further than its control file says, which does no harm: what it has of the source's timeline is
 * the source's.
 */
DataDir
datadir_look(const char *path)
{
	DataDir		found = {0};

	read_control(path, &found);
	found.wal_known = newest_history(path, &found.newest_history);
	found.standby = file_exists_in(path, "standby.signal");
	found.startable = file_exists_in(path, "PG_VERSION");
	found.was_primary = found.known && found.state != DATA_SHUTDOWNED_IN_RECOVERY &&
		found.state != DATA_IN_ARCHIVE_RECOVERY;
	found.timeline = found.checkpoint_timeline;
	if (found.was_primary && found.newest_history > found.timeline)
		found.timeline = found.newest_history;
	return found;
}

bool
datadir_is_standby_of(const char *path, const char *system, unsigned timeline)
{
	DataDir		found = datadir_look(path);
	char		text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long) found.system);
	return found.known && found.wal_known && found.startable && found.standby && !found.was_primary &&
		(!*system || strcmp(text, system) == 0) &&
		(timeline == 0 || (found.checkpoint_timeline <= timeline && found.newest_history <= timeline));
}
