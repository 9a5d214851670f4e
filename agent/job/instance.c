/*
 * instance.c
 *		Which PostgreSQL instance of this host an action works on: "instance" in its parameters.
 *
 * The instance is chosen here, once and before the action begins, so that no action can choose in another way. What
 * is not understood is refused: an order for one instance must never reach another.
 */
#include <stdlib.h>

#include "agent/core/config.h"
#include "agent/core/text.h"
#include "agent/job/instance.h"
#include "common/sqlstate.h"

static int
refuse_unknown(ActionContext *ctx, const char *name)
{
	const AgentConfig *config = ctx->config;
	Text		names = {0};

	action_fail(ctx, STATE_UNDEFINED_OBJECT, "this agent has no PostgreSQL instance \"%s\"", name);
	for (int i = 1; i < config->n_instances; i++)
		text_addf(&names, "%s \"%s\"", i == 1 ? "; by name:" : ",", config->instances[i].name);
	if (config->n_instances == 0)
		action_hint(ctx, "It has no PostgreSQL at all.");
	else
		action_hint(ctx, "It has the main one, which needs no name%s.", names.data ? names.data : "");
	free(names.data);
	return -1;
}

/*
 * A run has one promote token, and its verdict is about the node's own server: "burned" lifts the seal of the old
 * primary. With tokens for several servers of one node, the answer about one could be taken for that about another.
 * An upgrade in place promotes nothing: its new server becomes the main one, and can be a target from then on.
 */
static int
refuse_named(ActionContext *ctx)
{
	action_fail(ctx, STATE_FEATURE_NOT_SUPPORTED, "this action works on the main instance only, not on \"%s\"",
				ctx->pg->name);
	action_hint(ctx, "The promote token is that of the node's own server, [postgresql] of its agent.");
	return -1;
}

/* It has the place of the main one: a connection to it would reach that one. */
static int
refuse_successor(ActionContext *ctx)
{
	action_fail(ctx, STATE_FEATURE_NOT_SUPPORTED, "instance \"%s\" has the place of the main one, before or after it",
				ctx->pg->name);
	action_hint(ctx, "Only an upgrade works on it.");
	return -1;
}

int
instance_choose(ActionContext *ctx, int flags, json_t *params)
{
	json_t	   *wanted = json_object_get(params, "instance");
	const char *name = wanted ? json_string_value(wanted) : "";

	ctx->pg = NULL;
	if (!name)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"instance\" must be a string");
	ctx->pg = config_instance(ctx->config, name);
	if (*name && !ctx->pg)
		return refuse_unknown(ctx, name);
	if (*name && (flags & ACTION_MAIN_ONLY))
		return refuse_named(ctx);
	if (*name && ctx->pg->successor)
		return refuse_successor(ctx);
	if (!ctx->pg && (flags & ACTION_NEEDS_PG))
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this agent has no PostgreSQL");
	return 0;
}

/* Without it the undo of what was done on a named instance would be done on the main one. */
void
instance_inherit(json_t *params, json_t *from)
{
	json_t	   *named = json_object_get(from, "instance");

	if (params && named && !json_object_get(params, "instance"))
		json_object_set(params, "instance", named);
}

/*
 * The epoch counts moves of the node's own role. A named instance that follows or retires says nothing of it, and a
 * token of that epoch would be called "promoted" from then on. What needs no server does not depend on one.
 */
bool
instance_raises_epoch(const ActionContext *ctx, int flags)
{
	bool		main_one = !(flags & ACTION_NEEDS_PG) || !*ctx->pg->name;

	return (flags & ACTION_RAISES_EPOCH) && main_one;
}
