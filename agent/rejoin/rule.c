/*
 * rule.c
 *		May a node be made a standby of that source, and by which methods: a pure function of facts.
 *
 * A server that looks broken may have commits that were acknowledged to clients, and the server that gives the order
 * may be the older side. So overwriting needs proof that the node has nothing that the source lacks: its timeline is
 * the source's or one that the source was promoted from, and no client wrote after the point where they parted (there
 * is no WAL, or a seal says so). Without the proof it is refused. The words of an operator (`risk`) can replace the
 * proof, but not between two clusters.
 */
#include "agent/rejoin/rule.h"

static const char *const verdict_texts[] = {
	[REJOIN_ALLOWED] = "can be made a standby",
	[REJOIN_OTHER_CLUSTER] = "is of another cluster",
	[REJOIN_NOT_SEALED] = "runs as a primary and is not sealed",
	[REJOIN_NEWER] = "is on a newer timeline than the server that it should follow",
	[REJOIN_FORKED] = "is on a timeline that the server which it should follow does not come from",
	[REJOIN_UNKNOWN] = "has a data directory that does not tell its timeline",
	[REJOIN_HAS_MORE] = "has written WAL that the server which it should follow does not have",
	[REJOIN_MAYBE_MORE] = "may have written WAL that the server which it should follow does not have",
	[REJOIN_TWO_OF_ONE] = "was a primary on the timeline of the server that it should follow",
	[REJOIN_NO_SUCH_WAY] = "cannot be made a standby by this method",
};

static const char *const way_names[] = {"direct", "rewind", "basebackup"};

const char *
rejoin_verdict_text(RejoinVerdict verdict)
{
	return verdict_texts[verdict];
}

const char *
way_name(WayNumber way)
{
	return way_names[way];
}

/* What only the node may have, if anything. */
static RejoinVerdict
what_would_go(const RejoinFacts *facts)
{
	if (facts->running && facts->primary && !facts->sealed)
		return REJOIN_NOT_SEALED;
	switch (facts->relation)
	{
		case RELATION_EMPTY:
			return REJOIN_ALLOWED;
		case RELATION_UNKNOWN:
			return REJOIN_UNKNOWN;
		case RELATION_AHEAD:
			return REJOIN_NEWER;
		case RELATION_FORKED:
			return REJOIN_FORKED;
		case RELATION_SAME:
			return facts->primary && !facts->sealed ? REJOIN_TWO_OF_ONE : REJOIN_ALLOWED;
		case RELATION_ANCESTOR:
			break;
	}
	if (facts->past_fork == PAST_FORK_NO || facts->writes_end_before_fork)
		return REJOIN_ALLOWED;
	return facts->past_fork == PAST_FORK_YES ? REJOIN_HAS_MORE : REJOIN_MAYBE_MORE;
}

static bool
diverged(const RejoinFacts *facts)
{
	return facts->relation == RELATION_AHEAD || facts->relation == RELATION_FORKED ||
		(facts->relation == RELATION_ANCESTOR && facts->past_fork == PAST_FORK_YES);
}

/*
 * A primary of the source's own timeline (the target crashed inside its promotion) may have other records at the same
 * places, which neither a start nor pg_rewind would notice.
 */
static bool
only_a_copy(const RejoinFacts *facts)
{
	return facts->relation == RELATION_EMPTY || facts->relation == RELATION_UNKNOWN ||
		(facts->relation == RELATION_SAME && facts->primary);
}

/*
 * pg_rewind first runs the server alone, to end its recovery, and that writes a checkpoint after the WAL that is
 * there. On a standby which has not diverged this would be the first record of its own, where pg_rewind does not look
 * for it: a damaged copy. So rewind is for what has diverged, or was a primary until now.
 */
static bool
can_rewind(const RejoinFacts *facts)
{
	return !only_a_copy(facts) &&
		(facts->half_rewound || diverged(facts) || (facts->relation == RELATION_ANCESTOR && facts->primary));
}

static bool
can_start(const RejoinFacts *facts)
{
	return !only_a_copy(facts) && !facts->half_rewound && !diverged(facts);
}

static RejoinRule
refuse(RejoinVerdict verdict)
{
	return (RejoinRule) {.verdict = verdict};
}

static RejoinRule
only(WayNumber way)
{
	return (RejoinRule) {.verdict = REJOIN_ALLOWED, .first = way, .last = way, .with_rewind = way == WAY_REWIND};
}

/* Nothing to rewind is no failure: what pg_rewind would leave is what is there. */
static RejoinRule
by_method(const RejoinFacts *facts)
{
	switch ((WayNumber) facts->method)
	{
		case WAY_DIRECT:
			return can_start(facts) ? only(WAY_DIRECT) : refuse(REJOIN_NO_SUCH_WAY);
		case WAY_REWIND:
			if (can_rewind(facts))
				return only(WAY_REWIND);
			return can_start(facts) ? only(WAY_DIRECT) : refuse(REJOIN_NO_SUCH_WAY);
		default:
			return only(WAY_BASEBACKUP);
	}
}

static RejoinRule
by_itself(const RejoinFacts *facts)
{
	RejoinRule	rule = {.verdict = REJOIN_ALLOWED, .last = WAY_BASEBACKUP};

	rule.with_rewind = can_rewind(facts);
	rule.first = can_start(facts) ? WAY_DIRECT : rule.with_rewind ? WAY_REWIND : WAY_BASEBACKUP;
	return rule;
}

RejoinRule
rejoin_rule(const RejoinFacts *facts)
{
	RejoinVerdict verdict = what_would_go(facts);
	RejoinRule	rule;

	if (facts->other_cluster)
		return refuse(REJOIN_OTHER_CLUSTER);
	/* decided before it was begun; what is half rewound is no server any more */
	if (verdict != REJOIN_ALLOWED && !facts->risk && !facts->half_rewound)
		return refuse(verdict);
	rule = facts->method == METHOD_AUTO ? by_itself(facts) : by_method(facts);
	rule.follow = rule.verdict == REJOIN_ALLOWED && facts->running && !facts->primary && can_start(facts) &&
		(facts->method == METHOD_AUTO || facts->method == WAY_DIRECT);
	return rule;
}
