/*
 * grant.c
 *		What a run must have from the arbiter of the cluster.
 */
#include "agent/action/grant.h"
#include "agent/arbiter/arbiter.h"
#include "agent/core/log.h"
#include "common/sqlstate.h"

#define WHY_MAX 512

static int
change(ActionContext *ctx, ArbiterRule *rule, int64_t ttl_ms, const char *refused_state)
{
	char		why[WHY_MAX] = "";

	switch (arbiter_change(ctx->config, rule, ctx->run, ctx->epoch, ttl_ms, why, sizeof(why)))
	{
		case ARBITER_GRANTED:
			return 0;
		case ARBITER_REFUSED:
			return action_fail(ctx, refused_state, "the arbiter refuses: %s", why);
		case ARBITER_SILENT:
			action_fail(ctx, STATE_CONNECTION_FAILURE, "the arbiter gives no answer: %s", why);
			action_hint(ctx, "See \"pingpong-agent --check\" on this host. If the arbiter is gone for good, take its "
						"section out of every agent's configuration, and reload them.");
	}
	return -1;
}

int
grant_claim(ActionContext *ctx, int64_t ttl_ms)
{
	return change(ctx, memory_claim, ttl_ms, STATE_OBJECT_IN_USE);
}

void
grant_release(ActionContext *ctx)
{
	char		why[WHY_MAX] = "";

	if (arbiter_change(ctx->config, memory_release, ctx->run, ctx->epoch, 0, why, sizeof(why)) != ARBITER_GRANTED)
		log_warning("the claim at the arbiter is not released, and ends by itself: %s", why);
}

int
grant_epoch(ActionContext *ctx)
{
	return change(ctx, memory_raise, 0, STATE_NOT_IN_PREREQUISITE_STATE);
}

void
grant_give_back(ActionContext *ctx)
{
	char		why[WHY_MAX] = "";

	if (arbiter_change(ctx->config, memory_lower, ctx->run, ctx->epoch, 0, why, sizeof(why)) != ARBITER_GRANTED)
		log_warning("the arbiter was not told that epoch %lld promotes nobody: %s", (long long) ctx->epoch, why);
}
