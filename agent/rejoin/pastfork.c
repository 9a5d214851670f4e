/*
 * pastfork.c
 *		Whether the WAL in a data directory reaches past the point where the source left its timeline.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/child.h"
#include "agent/pg/datadir.h"
#include "agent/pg/paths.h"
#include "agent/rejoin/pastfork.h"

#define WALDUMP_MS 30000

/* The size of WAL segments, by one that is there; 0: none is. */
static unsigned long long
segment_size(const char *wal)
{
	DIR		   *dir = opendir(wal);
	struct dirent *entry;
	struct stat st = {0};

	while (dir && st.st_size == 0 && (entry = readdir(dir)) != NULL)
		if (strlen(entry->d_name) == 24 && strspn(entry->d_name, "0123456789ABCDEF") == 24)
		{
			char	   *path = xasprintf("%s/%s", wal, entry->d_name);

			if (stat(path, &st) != 0)
				st.st_size = 0;
			free(path);
		}
	if (dir)
		closedir(dir);
	return (unsigned long long) st.st_size;
}

/* The file in which WAL after `lsn` would be, malloc'd. */
static char *
segment_path(const char *wal, unsigned tli, unsigned long long lsn, unsigned long long size)
{
	unsigned long long per_id = 0x100000000ULL / size;

	lsn /= size;
	return xasprintf("%s/%08X%08X%08X", wal, tli, (unsigned) (lsn / per_id), (unsigned) (lsn % per_id));
}

/*
 * A segment that was made beforehand and never written begins with zeros; pg_waldump fails on it, whatever it is
 * asked.
 */
static bool
segment_is_unused(const char *path)
{
	char		begin[8] = {0};
	char		zeros[8] = {0};
	FILE	   *file = fopen(path, "re");
	bool		unused = file && fread(begin, 1, sizeof(begin), file) == sizeof(begin) &&
		memcmp(begin, zeros, sizeof(zeros)) == 0;

	if (file)
		fclose(file);
	return unused;
}

/*
 * pg_waldump finds the first valid record at or after `from`; only if it says that there is none, there is none.
 * `next` may be NULL; a record may reach into it.
 */
static PastFork
look_for_record(const PgInstance *pg, const char *tli, unsigned long long from, char *segment, char *next)
{
	char	   *program = bin_path(pg, "pg_waldump");
	char		start[32];
	char		words[1024];
	char	   *argv[] = {program, "-t", (char *) tli, "-s", start, "-n", "1", segment, next, NULL};
	int			rc;

	snprintf(start, sizeof(start), "%X/%X", (unsigned) (from >> 32), (unsigned) from);
	rc = child_run_text(argv, WALDUMP_MS, words, sizeof(words));
	free(program);
	if (rc == 0 && strstr(words, "rmgr:"))
		return PAST_FORK_YES;
	if (rc == 1 && strstr(words, "could not find a valid record"))
		return PAST_FORK_NO;
	log_warning("pg_waldump does not tell whether there is WAL behind %s (status %d): %s", start, rc, words);
	return PAST_FORK_UNKNOWN;
}

/* Of that timeline, after the segment of `lsn`; true also when the folder cannot be read to its end. */
static bool
has_later_segment(const char *wal, unsigned tli, unsigned long long lsn, unsigned long long size)
{
	DIR		   *dir = opendir(wal);
	char	   *path = segment_path(wal, tli, lsn, size);
	const char *name = strrchr(path, '/') + 1;
	struct dirent *entry = NULL;
	bool		found = dir == NULL;

	errno = 0;
	while (!found && (entry = readdir(dir)) != NULL)
		found = strlen(entry->d_name) == 24 && strncmp(entry->d_name, name, 8) == 0 &&
			strcmp(entry->d_name, name) > 0;
	found |= errno != 0;
	if (dir)
		closedir(dir);
	free(path);
	return found;
}

/* The segment of the fork is not there: WAL has not come so far, or it was removed because there is much more. */
static PastFork
without_segment(const DataDir *dir, const char *wal, unsigned tli, unsigned long long fork, unsigned long long size)
{
	bool		before = dir->known && (dir->checkpoint_timeline < tli || dir->checkpoint < fork);

	return before && !has_later_segment(wal, tli, fork, size) ? PAST_FORK_NO : PAST_FORK_UNKNOWN;
}

/* "No" needs a witness, too: pg_waldump's words, or a segment that WAL has not reached. */
PastFork
source_past_fork(const Source *source, const PgInstance *pg, const char *data, unsigned timeline)
{
	unsigned long long fork = source_fork(source, timeline);
	DataDir		dir = datadir_look(data);
	char	   *wal = xasprintf("%s/pg_wal", data);
	unsigned long long size = segment_size(wal);
	char	   *segment = size ? segment_path(wal, timeline, fork, size) : NULL;
	char	   *next = size ? segment_path(wal, timeline, fork + size, size) : NULL;
	char		tli[16];
	PastFork	found = PAST_FORK_UNKNOWN;

	snprintf(tli, sizeof(tli), "%u", timeline);
	if (dir.known && dir.checkpoint_timeline == timeline && dir.checkpoint >= fork)
		found = PAST_FORK_YES;
	/* asked for a segment that is missing, pg_waldump waits five seconds */
	else if (fork != 0 && segment && !file_exists(segment))
		found = without_segment(&dir, wal, timeline, fork, size);
	else if (fork != 0 && segment && fork % size == 0 && segment_is_unused(segment))
		found = PAST_FORK_NO;
	else if (fork != 0 && segment)
		found = look_for_record(pg, tli, fork, segment, file_exists(next) ? next : NULL);
	free(next);
	free(segment);
	free(wal);
	return found;
}
