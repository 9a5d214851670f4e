/*
 * tool.c
 *		PostgreSQL's own programs, run for a rejoin.
 */
#include <stdio.h>
#include <string.h>

#include "agent/child.h"
#include "agent/rejoin.h"

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
 * A password must not stand in an argument, which everyone on the host can read; it goes into the child's environment.
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
