/*
 * leftovers.c
 *		Temporary files of agents that were killed while they wrote.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/leftovers.h"
#include "agent/core/log.h"
#include "common/names.h"

static const char digits[] = "0123456789";

/* The name that file_write_atomic() gives: NAME.tmpPID.N */
static bool
is_temporary(const char *name)
{
	const char *end = NULL;
	size_t		n;

	for (const char *found = strstr(name, ".tmp"); found; found = strstr(found + 1, ".tmp"))
		end = found + 4;
	n = end ? strspn(end, digits) : 0;
	return n > 0 && end[n] == '.' && end[n + 1] && strspn(end + n + 1, digits) == strlen(end + n + 1);
}

static void
remove_from(const char *directory, const char *prefix)
{
	DIR		   *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", directory, entry->d_name);
		struct stat st;

		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && is_temporary(entry->d_name) &&
			lstat(path, &st) == 0 && S_ISREG(st.st_mode) && unlink(path) < 0)
			log_warning("could not remove \"%s\": %s", path, strerror(errno));
		free(path);
	}
	if (dir)
		closedir(dir);
}

static void
remove_from_runs(const char *jobs)
{
	DIR		   *dir = opendir(jobs);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", jobs, entry->d_name);

		if (pingpong_key_valid(entry->d_name))
			remove_from(path, "");
		free(path);
	}
	if (dir)
		closedir(dir);
}

static void
remove_from_instance(const PgInstance *pg)
{
	remove_from(pg->settings_dir, "");
	/* where others have files, too: only of the two that we write there */
	remove_from(pg->data, "postgresql.auto.conf.tmp");
	remove_from(pg->data, "standby.signal.tmp");
}

void
leftovers_remove(const AgentConfig *config)
{
	static const char *const folders[] = {"token", "pause", NULL};
	char	   *jobs = xasprintf("%s/jobs", config->state_dir);

	remove_from(config->state_dir, "");
	remove_from_runs(jobs);
	for (int i = 0; folders[i]; i++)
	{
		char	   *path = xasprintf("%s/%s", config->state_dir, folders[i]);

		remove_from(path, "");
		free(path);
	}
	for (int i = 0; i < config->n_instances; i++)
		remove_from_instance(&config->instances[i]);
	free(jobs);
}
