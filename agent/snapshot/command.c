/*
 * command.c
 *		Snapshots by a hook of the site: HOOK check|take|ready|restore|drop NAME DATA.
 *
 * snapshot = command HOOK. Its exit status is 0 when it has done that, or found it done.
 */
#include <stdlib.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/snapshot/driver.h"
#include "common/sqlstate.h"

#define TIMEOUT_MS 3600000

static int
call(const Snapshot *snapshot, const char *verb)
{
	const HookConfig *hook = config_hook(snapshot->ctx->config, snapshot->words[0]);
	ChildOptions options = {.timeout_ms = TIMEOUT_MS};
	char	  **argv = NULL;
	int			rc;

	if (!hook)
		return action_fail(snapshot->ctx, STATE_UNDEFINED_OBJECT, "no hook \"%s\" is configured", snapshot->words[0]);
	for (char **word = hook->argv; *word; word++)
		text_append(&argv, xstrdup(*word));
	text_append(&argv, xstrdup(verb));
	text_append(&argv, xstrdup(snapshot->name));
	text_append(&argv, xstrdup(snapshot->pg->data));
	rc = child_run_or_fail(snapshot->ctx, argv, &options);
	text_free_list(argv);
	return rc;
}

static int
check(const Snapshot *snapshot)
{
	return call(snapshot, "check");
}

static int
take(const Snapshot *snapshot)
{
	return call(snapshot, "take");
}

static int
ready(const Snapshot *snapshot)
{
	return call(snapshot, "ready");
}

static int
restore(const Snapshot *snapshot)
{
	return call(snapshot, "restore");
}

static int
drop(const Snapshot *snapshot)
{
	return call(snapshot, "drop");
}

const SnapshotDriver snapshot_command = {"command", 1, check, take, ready, restore, drop};
