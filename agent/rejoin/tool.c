/*
 * tool.c
 *		PostgreSQL's own programs, run for a rejoin.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/processes.h"
#include "agent/job/action.h"
#include "agent/job/child.h"
#include "agent/pg/layout.h"
#include "agent/pg/postmaster.h"
#include "agent/rejoin/tool.h"
#include "common/sqlstate.h"

#define LEFTOVER_MS 10000
#define POLL_MS 5
#define COMMAND_LINE_MAX 16384

/* What both programs write: "12345/67890 kB (18%)". The last of it; false: there is none. */
static bool
read_progress(const char *data, size_t size, unsigned long long *done_kb, unsigned long long *all_kb, int *percent)
{
	char		text[512];
	size_t		len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	char	   *at;

	memcpy(text, data + size - len, len);
	text[len] = '\0';
	at = strrchr(text, '/');
	while (at && at > text && at[-1] >= '0' && at[-1] <= '9')
		at--;
	return at && sscanf(at, "%llu/%llu kB (%d%%)", done_kb, all_kb, percent) == 3;
}

void
tool_progress(const ToolProgress *progress, const char *data, size_t size)
{
	unsigned long long done_kb;
	unsigned long long all_kb;
	int			percent;
	double		seconds = (clock_monotonic_ms() - progress->began_ms) / 1000;
	double		speed;			/* kB/s */

	if (!read_progress(data, size, &done_kb, &all_kb, &percent))
		return;
	speed = seconds > 0 ? done_kb / seconds : 0;
	if (speed >= 1 && done_kb <= all_kb)
		action_progress(progress->ctx, percent, "%s: %llu of %llu MB, %.0f MB/s, %.0f s to go", progress->what,
						done_kb / 1024, all_kb / 1024, speed / 1024, (all_kb - done_kb) / speed);
	else
		action_progress(progress->ctx, percent, "%s", progress->what);
}

static void
show_progress(void *argument, const char *data, size_t size)
{
	tool_progress(argument, data, size);
}

/*
 * A password must not be in an argument, which everyone on the host can read; it goes into the child's
 * environment.
 */
int
run_tool(Rejoin *rejoin, char *const *argv, char *password)
{
	double		left = rejoin->deadline - clock_monotonic_ms();
	char	   *what = xasprintf("copying from %s:%s", rejoin->upstream.host, rejoin->upstream.port);
	ToolProgress progress = {rejoin->ctx, what, clock_monotonic_ms()};
	ChildOptions options = {.timeout_ms = left > 1000 ? (int) left : 1000, .on_output = show_progress,
	.argument = &progress, .password = password};
	int			rc = child_run_or_fail(rejoin->ctx, argv, &options);

	free(what);
	if (rc < 0)
		action_hint(rejoin->ctx, "See the output of the job.");
	return rc;
}

/* ---- what an agent that is gone has left ---- */

typedef struct Workplace
{
	const PgInstance *pg;
	const char *folder;
} Workplace;

/* Is it a program of this server's version that was told to work there? */
static bool
works_on(pid_t pid, const void *argument)
{
	const Workplace *place = argument;
	const char *bin = place->pg->bin;
	char	   *path = xasprintf("/proc/%d/cmdline", (int) pid);
	char		words[COMMAND_LINE_MAX];
	FILE	   *file = fopen(path, "re");
	size_t		size = file ? fread(words, 1, sizeof(words) - 1, file) : 0;
	bool		ours;
	bool		here = false;

	words[size] = '\0';
	ours = strncmp(words, bin, strlen(bin)) == 0 && words[strlen(bin)] == '/';
	for (size_t at = strlen(words) + 1; ours && at < size; at += strlen(words + at) + 1)
		here |= strcmp(words + at, place->folder) == 0;
	if (file)
		fclose(file);
	free(path);
	return here;
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

		gone &= processes_end(works_on, &(Workplace) {rejoin->pg, place}, LEFTOVER_MS,
							  "it works for a rejoin of an agent that is gone");
		while (!postmaster_gone(place) && clock_monotonic_ms() < limit)
			sleep_ms(POLL_MS);
		gone &= postmaster_gone(place);
		free(place);
	}
	return gone ? 0 : action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
								  "programs of an agent that is gone still work in \"%s/pingpong.rejoin\"",
								  rejoin->pg->data);
}
