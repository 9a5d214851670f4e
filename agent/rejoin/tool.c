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

/* Progress of both programs: "12345/67890 kB (18%)" */
int
tool_percent(const char *data, size_t size)
{
	char		text[512];
	size_t		len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	char	   *open;
	int			percent;

	memcpy(text, data + size - len, len);
	text[len] = '\0';
	open = strrchr(text, '(');
	return open && sscanf(open, "(%d%%)", &percent) == 1 ? percent : -1;
}

static void
show_percent(void *argument, const char *data, size_t size)
{
	Rejoin	   *rejoin = argument;
	int			percent = tool_percent(data, size);

	if (percent >= 0)
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
