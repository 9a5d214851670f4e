/*
 * program.c
 *		The program of a file system.
 */
#include "agent/core/alloc.h"
#include "agent/job/child.h"
#include "agent/snapshot/program.h"

#define TIMEOUT_MS 600000

static void
collect(void *argument, const char *data, size_t size)
{
	text_add(argument, data, size);
}

int
snapshot_run(const Snapshot *snapshot, const char *program, char *const *words, Text *output)
{
	ChildOptions options = {.timeout_ms = TIMEOUT_MS, .on_output = output ? collect : NULL, .argument = output};
	char	  **argv = NULL;
	int			rc;

	for (char **word = snapshot->words + 1; *word; word++)
		text_append(&argv, xstrdup(*word));
	if (!argv)
		text_append(&argv, xstrdup(program));
	for (; *words; words++)
		text_append(&argv, xstrdup(*words));
	rc = child_run_or_fail(snapshot->ctx, argv, &options);
	text_free_list(argv);
	return rc;
}
