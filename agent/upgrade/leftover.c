/*
 * leftover.c
 *		Processes of pg_upgrade that outlive it: PostgreSQL's programs in its working directory, which is ours alone.
 *		A person's shell may be there, too, to look at its logs.
 */
#include <dirent.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/log.h"
#include "agent/upgrade/leftover.h"
#include "common/sqlstate.h"

#define GONE_MS 10000

static bool
is_program(pid_t pid)
{
	char	   *path = xasprintf("/proc/%d/exe", (int) pid);
	char		program[PATH_MAX];
	ssize_t		len = readlink(path, program, sizeof(program) - 1);

	free(path);
	program[len > 0 ? len : 0] = '\0';
	return strncmp(basename(program), "pg_", 3) == 0 || strncmp(basename(program), "psql", 4) == 0 ||
		strncmp(basename(program), "vacuumdb", 8) == 0;
}

static bool
works_in(pid_t pid, const struct stat *folder)
{
	char	   *path = xasprintf("/proc/%d/cwd", (int) pid);
	struct stat its;
	bool		here = stat(path, &its) == 0 && its.st_dev == folder->st_dev && its.st_ino == folder->st_ino;

	free(path);
	return here && is_program(pid);
}

/* Opened first, then looked at, so that the number cannot become another's. False: it is one, and does not go. */
static bool
end_one(pid_t pid, const struct stat *folder)
{
	struct pollfd fd = {pidfd_open(pid, 0), POLLIN, 0};
	bool		gone = true;

	if (fd.fd >= 0 && works_in(pid, folder))
	{
		log_info("process %d of a pg_upgrade that is gone is ended", (int) pid);
		gone = pidfd_send_signal(fd.fd, SIGKILL, NULL, 0) == 0 && poll(&fd, 1, GONE_MS) == 1;
	}
	if (fd.fd >= 0)
		close(fd.fd);
	return gone;
}

int
leftover_end_all(const Upgrade *upgrade)
{
	char	   *path = upgrade_work_folder(upgrade);
	struct stat folder;
	DIR		   *dir = stat(path, &folder) == 0 ? opendir("/proc") : NULL;
	struct dirent *entry;
	bool		gone = true;

	while (dir && (entry = readdir(dir)))
	{
		pid_t		pid = (pid_t) atoi(entry->d_name);

		if (pid > 1 && pid != getpid() && works_in(pid, &folder))
			gone &= end_one(pid, &folder);
	}
	if (dir)
		closedir(dir);
	free(path);
	return gone ? 0 : action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
								  "processes of a pg_upgrade that is gone do not end");
}
