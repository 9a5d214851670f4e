/*
 * hook.c
 *		hook: a command of the site. The configuration names the command, the order only chooses it.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/action/hook.h"
#include "agent/core/alloc.h"
#include "agent/core/config.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "common/sqlstate.h"

#define HOOK_TIMEOUT_MS 60000
#define HOOK_ARGS_MAX 32

static int
add_arguments(ActionContext *ctx, json_t *args, char ***argv)
{
	json_t	   *arg;
	size_t		i;

	if (args && (!json_is_array(args) || json_array_size(args) > HOOK_ARGS_MAX))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"args\" must be a list of at most %d strings",
						   HOOK_ARGS_MAX);
	json_array_foreach(args, i, arg)
	{
		if (!json_is_string(arg))
			return action_fail(ctx, STATE_INVALID_PARAMETER, "entry %zu of \"args\" is not a string", i + 1);
		text_append(argv, xstrdup(json_string_value(arg)));
	}
	return 0;
}

int
action_hook(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *name = param_string(params, "name", "");
	const HookConfig *hook = config_hook(ctx->config, name);
	ChildOptions options = {.timeout_ms = (int) param_int(params, "timeout_ms", HOOK_TIMEOUT_MS)};
	char	  **argv = NULL;
	int			rc = 0;

	if (!hook)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "no hook \"%s\" is configured", name);
	for (int i = 0; hook->argv[i]; i++)
		text_append(&argv, xstrdup(hook->argv[i]));
	rc = add_arguments(ctx, json_object_get(params, "args"), &argv);
	if (rc == 0)
		rc = child_run(ctx, argv, &options);
	text_free_list(argv);
	if (rc < 0)
		return -1;
	json_object_set_new(result, "exit_status", json_integer(rc));
	return rc == 0 ? 0 : action_fail(ctx, STATE_EXTERNAL_ROUTINE, "hook \"%s\" ended with status %d", name, rc);
}
