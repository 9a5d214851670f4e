/*
 * rule.h
 *		May a node be made a standby of that source, and by which ways: a pure function of facts.
 */
#ifndef PINGPONG_AGENT_REJOIN_RULE_H
#define PINGPONG_AGENT_REJOIN_RULE_H

#include <stdbool.h>

/* The relation of the node's timeline to the source's. */
typedef enum Relation
{
	RELATION_EMPTY,				/* there is no data directory, or an empty one */
	RELATION_UNKNOWN,			/* there is something that does not tell its timeline */
	RELATION_SAME,
	RELATION_ANCESTOR,			/* the source was promoted from it */
	RELATION_AHEAD,				/* the node was promoted from the source's timeline: the source is the older side */
	RELATION_FORKED				/* both were promoted from a third one, or have nothing to do with each other */
} Relation;

/* Is there WAL on the node's timeline after the point where the source left it? */
typedef enum PastFork
{
	PAST_FORK_NO, PAST_FORK_YES, PAST_FORK_UNKNOWN
} PastFork;

/* The ways, each costlier than the one before; "follow" needs a running standby. */
typedef enum WayNumber
{
	WAY_DIRECT, WAY_REWIND, WAY_BASEBACKUP, WAYS
} WayNumber;

#define METHOD_AUTO (-1)

typedef struct RejoinFacts
{
	bool		other_cluster;
	bool		running;
	bool		primary;		/* runs out of recovery; not running: its last life was no standby's */
	bool		sealed;			/* the seal is in force */
	Relation	relation;
	PastFork	past_fork;		/* RELATION_ANCESTOR only */
	bool		writes_end_before_fork; /* a seal proves that what is past the fork no client wrote */
	bool		half_rewound;
	bool		risk;			/* the words were said: what only the node has may be lost */
	int			method;			/* WayNumber, or METHOD_AUTO */
} RejoinFacts;

typedef enum RejoinVerdict
{
	REJOIN_ALLOWED,
	REJOIN_OTHER_CLUSTER,		/* not even with the words */
	REJOIN_NOT_SEALED,			/* a running primary that takes writes */
	REJOIN_NEWER,				/* the source is the older side */
	REJOIN_FORKED,
	REJOIN_UNKNOWN,
	REJOIN_HAS_MORE,			/* WAL past the fork that clients may have written */
	REJOIN_MAYBE_MORE,			/* whether there is such WAL cannot be told */
	REJOIN_TWO_OF_ONE,			/* a primary of the source's own timeline */
	REJOIN_NO_SUCH_WAY			/* the method asked for cannot work */
} RejoinVerdict;

typedef struct RejoinRule
{
	RejoinVerdict verdict;
	bool		follow;			/* a running standby: first try to change its upstream, without a stop */
	WayNumber	first;
	WayNumber	last;
	bool		with_rewind;	/* between the two; a server that has not diverged must not be rewound */
} RejoinRule;

extern RejoinRule rejoin_rule(const RejoinFacts *facts);

/* For a message, what stands against it: "node \"%s\" ..." */
extern const char *rejoin_verdict_text(RejoinVerdict verdict);
extern const char *way_name(WayNumber way);

#endif							/* PINGPONG_AGENT_REJOIN_RULE_H */
