/*
 * leftover.c
 *		Processes of pg_upgrade that outlive it: PostgreSQL's programs in its working directory, which is ours alone.
 *		A person's shell may be there, too, to look at its logs.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/processes.h"
#include "agent/upgrade/leftover.h"
#include "common/sqlstate.h"

#define GONE_MS 10000

static bool
works_in(pid_t pid, const void *argument)
{
	const struct stat *folder = argument;
	char	   *path = xasprintf("/proc/%d/cwd", (int) pid);
	struct stat its;
	bool		here = stat(path, &its) == 0 && its.st_dev == folder->st_dev && its.st_ino == folder->st_ino;

	free(path);
	return here && process_is_named(pid, (const char *const[]) {"pg_", "psql", "vacuumdb", NULL});
}

int
leftover_end_all(const Upgrade *upgrade)
{
	char	   *path = upgrade_work_folder(upgrade);
	struct stat folder;
	bool		gone = stat(path, &folder) < 0 ||
		processes_end(works_in, &folder, GONE_MS, "it is of a pg_upgrade that is gone");

	free(path);
	return gone ? 0 : action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
								  "processes of a pg_upgrade that is gone do not end");
}
