/*
 * tool.c
 *		PostgreSQL's own programs, run for a rejoin.
 */
#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/job/action.h"
#include "agent/job/child.h"
#include "agent/pg/layout.h"
#include "agent/pg/postmaster.h"
#include "agent/rejoin/tool.h"
#include "common/sqlstate.h"

#define LEFTOVER_MS 10000
#define POLL_MS 5
#define COMMAND_LINE_MAX 16384

/* Progress of both programs: "12345/67890 kB (18%)" */
static void
show_percent(void *argument, const char *data, size_t size)
{
	Rejoin	   *rejoin = argument;
	char		text[512];
	char	   *open;
	size_t		len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	int			percent;

	memcpy(text, data + size - len, len);
	text[len] = '\0';
	open = strrchr(text, '(');
	if (open && sscanf(open, "(%d%%)", &percent) == 1)
		action_progress(rejoin->ctx, percent, "copying from %s:%s", rejoin->upstream.host, rejoin->upstream.port);
}

/*
 * A password must not be in an argument, which everyone on the host can read; it goes into the child's
 * environment.
 */
int
run_tool(Rejoin *rejoin, char *const *argv, char *password)
{
	double		left = rejoin->deadline - clock_monotonic_ms();
	ChildOptions options = {.timeout_ms = left > 1000 ? (int) left : 1000, .on_output = show_percent,
	.argument = rejoin, .password = password};
	int			rc = child_run_or_fail(rejoin->ctx, argv, &options);

	if (rc < 0)
		action_hint(rejoin->ctx, "See the output of the job.");
	return rc;
}

/* ---- what an agent that is gone has left ---- */

/* Is it a program of this server's version that was told to work in `place`? */
static bool
works_on(const PgInstance *pg, pid_t pid, const char *place)
{
	char	   *path = xasprintf("/proc/%d/cmdline", (int) pid);
	char		words[COMMAND_LINE_MAX];
	FILE	   *file = fopen(path, "re");
	size_t		size = file ? fread(words, 1, sizeof(words) - 1, file) : 0;
	bool		ours;
	bool		here = false;

	words[size] = '\0';
	ours = strncmp(words, pg->bin, strlen(pg->bin)) == 0 && words[strlen(pg->bin)] == '/';
	for (size_t at = strlen(words) + 1; ours && at < size; at += strlen(words + at) + 1)
		here |= strcmp(words + at, place) == 0;
	if (file)
		fclose(file);
	free(path);
	return here;
}

/* Opened first, then looked at, so that the number cannot become another's. False: it is one, and does not go. */
static bool
end_one(const PgInstance *pg, pid_t pid, const char *place)
{
	struct pollfd fd = {pidfd_open(pid, 0), POLLIN, 0};
	bool		gone = true;

	if (fd.fd >= 0 && works_on(pg, pid, place))
	{
		log_info("process %d still works in \"%s\" for an agent that is gone; it is ended", (int) pid, place);
		gone = pidfd_send_signal(fd.fd, SIGKILL, NULL, 0) == 0 && poll(&fd, 1, LEFTOVER_MS) == 1;
	}
	if (fd.fd >= 0)
		close(fd.fd);
	return gone;
}

static bool
end_all(const PgInstance *pg, const char *place)
{
	DIR		   *dir = opendir("/proc");
	struct dirent *entry;
	bool		gone = dir != NULL;

	while (dir && (entry = readdir(dir)))
	{
		pid_t		pid = (pid_t) atoi(entry->d_name);

		if (pid > 1 && pid != getpid() && works_on(pg, pid, place))
			gone &= end_one(pg, pid, place);
	}
	if (dir)
		closedir(dir);
	return gone;
}

int
tool_end_leftovers(Rejoin *rejoin)
{
	static const char *const names[] = {"hidden", "new", NULL};
	double		limit = clock_monotonic_ms() + LEFTOVER_MS;
	bool		gone = true;

	for (int i = 0; names[i]; i++)
	{
		char	   *place = layout_work(rejoin->pg, names[i]);

		gone &= end_all(rejoin->pg, place);
		while (!postmaster_gone(place) && clock_monotonic_ms() < limit)
			sleep_ms(POLL_MS);
		gone &= postmaster_gone(place);
		free(place);
	}
	return gone ? 0 : action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
								  "programs of an agent that is gone still work in \"%s/pingpong.rejoin\"",
								  rejoin->pg->data);
}
