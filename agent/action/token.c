/*
 * token.c
 *		The promote token: what may happen to it, as pure functions.
 *
 *	none    armed -> promoting -> promoted
 *	           \----------\-----> burned
 *
 * "burned" tells the old primary that it may open again, so it is only said when it is certain that no promotion of
 * this run is under way or can begin: by an agent that remembers the run, of a server that was looked at. An agent
 * that has never heard of the run (its state folder was lost, it is another host) says "unknown". A "promoting" token
 * becomes burned in one case: the postmaster that got the order is gone (a promote signal does not outlive it), and
 * its successor is in recovery, or there is none and the directory is that of a standby. A server out of recovery,
 * and an epoch that was proved, are never burned.
 */
#include <string.h>

#include "agent/action/token.h"
#include "common/names.h"

static const char *const names[] = {
	[TOKEN_NONE] = "none",
	[TOKEN_ARMED] = "armed",
	[TOKEN_PROMOTING] = VERDICT_PROMOTING,
	[TOKEN_PROMOTED] = VERDICT_PROMOTED,
	[TOKEN_BURNED] = VERDICT_BURNED,
	[TOKEN_UNKNOWN] = VERDICT_UNKNOWN,
};

const char *
token_state_name(TokenState state)
{
	return names[state];
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

static bool
other_system(const Token *token, const TokenFacts *facts)
{
	return token->system_identifier[0] && strcmp(token->system_identifier, facts->system_identifier) != 0;
}

bool
token_expired(const Token *token, const TokenFacts *facts)
{
	return facts->now_ms > token->deadline_ms || facts->now_boot_ms > token->deadline_boot_ms ||
		strcmp(token->boot_id, facts->boot_id) != 0;
}

bool
token_same_timeline(const Token *token, const TokenFacts *facts)
{
	return facts->reachable && !facts->in_recovery && token->timeline != 0 && facts->timeline != 0 &&
		facts->timeline <= token->timeline;
}

bool
token_changes(const Token *token, const TokenDecision *decision)
{
	if (decision->state == TOKEN_UNKNOWN || decision->state == token->state)
		return decision->order;
	return token->state != TOKEN_BURNED && token->state != TOKEN_NONE;
}

static const char *
order_refusal(const Token *token, const TokenFacts *facts)
{
	if (token->epoch != facts->epoch)
		return "the promote token is of another epoch";
	if (token_expired(token, facts))
		return "the promote token has expired";
	if (!facts->reachable)
		return "PostgreSQL does not answer";
	if (other_system(token, facts))
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
		case TOKEN_UNKNOWN:
			return become(TOKEN_UNKNOWN, "no promote token of this run is known here");
		case TOKEN_ARMED:

			/* promoted by somebody else: opening the old primary too would be the worst of all ends */
			if (facts->reachable && !facts->in_recovery && !other_system(token, facts))
				return become(TOKEN_PROMOTED, NULL);
			refusal = order_refusal(token, facts);
			if (refusal)
				return become(TOKEN_BURNED, refusal);
			break;
		case TOKEN_PROMOTING:
			if (!facts->reachable)
				return become(TOKEN_PROMOTING, "PostgreSQL does not answer");
			if (!facts->in_recovery && !other_system(token, facts))
				return become(TOKEN_PROMOTED, NULL);
			refusal = order_refusal(token, facts);
			if (refusal)
				return become(restarted(token, facts) && !other_system(token, facts) ? TOKEN_BURNED : TOKEN_PROMOTING,
							  refusal);
			break;				/* to ask the same server twice does no harm */
	}
	return (TokenDecision) {.state = TOKEN_PROMOTING, .order = true, .reason = NULL};
}

/*
 * The server of an armed or burned token: nobody here has given the order, and nobody will once it is burned. That it
 * was not promoted otherwise is looked at each time: each "burned" lifts a seal.
 */
static TokenDecision
burn_unused(const Token *token, const TokenFacts *facts)
{
	if (!facts->reachable && !facts->standby_on_disk)
		return become(TOKEN_UNKNOWN, "PostgreSQL does not answer, and its data directory does not show a standby");
	if (facts->reachable && other_system(token, facts))
		return become(TOKEN_UNKNOWN, "the server has another system identifier");
	return become(TOKEN_BURNED, NULL);
}

static TokenDecision
burn_promoting(const Token *token, const TokenFacts *facts)
{
	if (!facts->reachable && facts->stopped && facts->standby_on_disk)
		return become(TOKEN_BURNED, NULL);
	if (!facts->reachable)
		return become(TOKEN_PROMOTING, "PostgreSQL does not answer");
	if (other_system(token, facts))
		return become(TOKEN_UNKNOWN, "the server has another system identifier");
	if (!restarted(token, facts))
		return become(TOKEN_PROMOTING, "the promotion was ordered and may still happen");
	return become(TOKEN_BURNED, NULL);
}

TokenDecision
token_on_burn(const Token *token, const TokenFacts *facts)
{
	if (token->state == TOKEN_NONE || token->state == TOKEN_UNKNOWN)
		return become(TOKEN_UNKNOWN, "no promote token of this run is known here");
	if (token->state == TOKEN_PROMOTED || (facts->reachable && !facts->in_recovery && !other_system(token, facts)))
		return become(TOKEN_PROMOTED, NULL);
	if (facts->proved_epoch >= token->epoch)
		return become(TOKEN_PROMOTED, "the primary has moved in this epoch");
	return token->state == TOKEN_PROMOTING ? burn_promoting(token, facts) : burn_unused(token, facts);
}
