/*
 * processes.c
 *		Ending processes that nobody waits for any more.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/log.h"
#include "agent/core/processes.h"

bool
process_is_named(pid_t pid, const char *const *names)
{
	char	   *path = xasprintf("/proc/%d/exe", (int) pid);
	char		program[PATH_MAX];
	ssize_t		len = readlink(path, program, sizeof(program) - 1);
	char	   *name;
	bool		named = false;

	program[len > 0 ? len : 0] = '\0';
	name = basename(program);
	for (int i = 0; names[i]; i++)
		named |= strncmp(name, names[i], strlen(names[i])) == 0;
	free(path);
	return named;
}

/* Opened first, then looked at, so that the number cannot become another's. False: it is one, and does not go. */
static bool
end_one(pid_t pid, ProcessTest test, const void *argument, int limit_ms, const char *what)
{
	struct pollfd fd = {pidfd_open(pid, 0), POLLIN, 0};
	bool		gone = fd.fd >= 0 || errno == ESRCH;

	if (fd.fd >= 0 && test(pid, argument))
	{
		log_info("process %d is ended: %s", (int) pid, what);
		gone = pidfd_send_signal(fd.fd, SIGKILL, NULL, 0) == 0 && poll(&fd, 1, limit_ms) == 1;
	}
	if (fd.fd >= 0)
		close(fd.fd);
	return gone;
}

bool
processes_end(ProcessTest test, const void *argument, int limit_ms, const char *what)
{
	DIR		   *dir = opendir("/proc");
	struct dirent *entry;
	bool		gone = dir != NULL;

	while (dir && (entry = readdir(dir)))
	{
		pid_t		pid = (pid_t) atoi(entry->d_name);

		if (pid > 1 && pid != getpid() && test(pid, argument))
			gone &= end_one(pid, test, argument, limit_ms, what);
	}
	if (dir)
		closedir(dir);
	return gone;
}
