/*
 * nodestate.h
 *		The state of the node, as a sampler saw it last: so that health, metrics and a page cost no query.
 */
#ifndef PINGPONG_AGENT_CORE_NODESTATE_H
#define PINGPONG_AGENT_CORE_NODESTATE_H

#include <jansson.h>
#include <stdbool.h>

#define NODESTATE_ASKED_MS 50

typedef enum NodeRole
{
	ROLE_UNKNOWN,				/* not seen yet, or not for too long: never taken for another one */
	ROLE_NONE,					/* this agent has no PostgreSQL */
	ROLE_DOWN,					/* its server does not answer */
	ROLE_PRIMARY,
	ROLE_SEALED,				/* out of recovery, and takes no writes of clients any more */
	ROLE_STANDBY
} NodeRole;

typedef struct NodeState
{
	NodeRole	role;
	int			timeline;		/* 0: not known */
	char		version[32];	/* of PostgreSQL; "": not known */
	char		lsn[24];		/* written, or replayed; "": not known */
	bool		streaming;		/* of a standby */
	bool		takes_writes;	/* a primary whose gate is open; false: it is not, or nobody knows */
	long long	lag;			/* of a standby: bytes that its upstream had and it has not replayed; -1: not known */
	bool		current;		/* the looks go on: set by nodestate_get() */
	double		seen_ms;		/* CLOCK_REALTIME */
	double		good_until;		/* CLOCK_MONOTONIC, ms; behind it the role is ROLE_UNKNOWN */
} NodeState;

extern void nodestate_set(const NodeState *state);
extern NodeState nodestate_get(void);

/*
 * Somebody decides by it where clients are sent: for some seconds the sampler looks more often, at least each
 * NODESTATE_ASKED_MS.
 */
extern void nodestate_asked(void);

/* For the sampler: waits until the next look is due, at most for the interval. */
extern void nodestate_await_look(int interval_ms);
extern const char *nodestate_role_name(NodeRole role);

/* {"node", "role", "version", "timeline", "lsn", "streaming", "seen_ms", "age_ms"}; a new reference. */
extern json_t *nodestate_json(const char *node);

#endif							/* PINGPONG_AGENT_CORE_NODESTATE_H */
