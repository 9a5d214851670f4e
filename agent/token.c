/*
 * token.c
 *		The promote token: what may happen to it, as pure functions.
 *
 *	none -> armed -> promoting -> promoted
 *	  \-------\----------\------> burned
 *
 * "burned" tells the old primary that it may open again, so it is only said when it is
 * certain that no promotion of this run is under way or can begin.  A "promoting" token
 * becomes burned in one case: the postmaster that got the order is gone (a promote
 * signal does not outlive it) and its successor is in recovery.
 */
#include <string.h>

#include "agent/token.h"
#include "common/names.h"

static const char *const names[] = {
	[TOKEN_NONE] = "none",
	[TOKEN_ARMED] = "armed",
	[TOKEN_PROMOTING] = VERDICT_PROMOTING,
	[TOKEN_PROMOTED] = VERDICT_PROMOTED,
	[TOKEN_BURNED] = VERDICT_BURNED,
};

const char *
token_state_name(TokenState state)
{
	return names[state];
}

const char *
token_verdict(TokenState state)
{
	return state == TOKEN_ARMED || state == TOKEN_NONE ? VERDICT_BURNED : names[state];
}

static TokenDecision
become(TokenState state, const char *reason)
{
	return (TokenDecision) {.state = state, .order = false, .reason = reason};
}

static bool
restarted(const Token *token, const TokenFacts *facts)
{
	return strcmp(token->server_start, facts->server_start) != 0;
}

static const char *
order_refusal(const Token *token, const TokenFacts *facts)
{
	if (token->epoch != facts->epoch)
		return "the promote token is of another epoch";
	if (facts->now_ms > token->deadline_ms)
		return "the promote token has expired";
	if (!facts->reachable)
		return "PostgreSQL does not answer";
	if (token->system_identifier[0] && strcmp(token->system_identifier, facts->system_identifier) != 0)
		return "the server has another system identifier";
	if (!facts->replayed)
		return "the server has not replayed the seal LSN";
	return NULL;
}

TokenDecision
token_on_order(const Token *token, const TokenFacts *facts)
{
	const char *refusal;

	switch (token->state)
	{
		case TOKEN_PROMOTED:
			return become(TOKEN_PROMOTED, NULL);
		case TOKEN_BURNED:
			return become(TOKEN_BURNED, "the promote token is burned");
		case TOKEN_NONE:
			return become(TOKEN_BURNED, "no promote token was armed for this run");
		case TOKEN_ARMED:

			/* promoted by somebody else: opening the old primary too would be the worst of all ends */
			if (facts->reachable && !facts->in_recovery)
				return become(TOKEN_PROMOTED, NULL);
			refusal = order_refusal(token, facts);
			if (refusal)
				return become(TOKEN_BURNED, refusal);
			break;
		case TOKEN_PROMOTING:
			if (!facts->reachable)
				return become(TOKEN_PROMOTING, "PostgreSQL does not answer");
			if (!facts->in_recovery)
				return become(TOKEN_PROMOTED, NULL);
			refusal = restarted(token, facts) ? order_refusal(token, facts) : NULL;
			if (refusal)
				return become(TOKEN_BURNED, refusal);
			break;				/* to ask the same server twice does no harm */
	}
	return (TokenDecision) {.state = TOKEN_PROMOTING, .order = true, .reason = NULL};
}

TokenDecision
token_on_burn(const Token *token, const TokenFacts *facts)
{
	switch (token->state)
	{
		case TOKEN_PROMOTED:
			return become(TOKEN_PROMOTED, NULL);
		case TOKEN_NONE:
		case TOKEN_BURNED:
			break;
		case TOKEN_ARMED:
			if (facts->reachable && !facts->in_recovery)
				return become(TOKEN_PROMOTED, NULL);
			break;
		case TOKEN_PROMOTING:
			if (!facts->reachable)
				return become(TOKEN_PROMOTING, "PostgreSQL does not answer");
			if (!facts->in_recovery)
				return become(TOKEN_PROMOTED, NULL);
			if (!restarted(token, facts))
				return become(TOKEN_PROMOTING, "the promotion was ordered and may still happen");
			break;
	}
	return become(TOKEN_BURNED, NULL);
}
