/*
 * nodestate.h
 *		The state of the node, as a sampler saw it last: so that health, metrics and a page cost no query.
 */
#ifndef PINGPONG_AGENT_CORE_NODESTATE_H
#define PINGPONG_AGENT_CORE_NODESTATE_H

#include <jansson.h>
#include <stdbool.h>

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
	double		streamed_ms;	/* CLOCK_REALTIME: when it was seen to stream last; 0: never */
	double		seen_ms;		/* CLOCK_REALTIME */
	double		good_until;		/* CLOCK_MONOTONIC, ms; behind it the role is ROLE_UNKNOWN */
} NodeState;

extern void nodestate_set(const NodeState *state);
extern NodeState nodestate_get(void);
extern const char *nodestate_role_name(NodeRole role);

/* {"node", "role", "version", "timeline", "lsn", "streaming", "streamed_ms", "seen_ms", "age_ms"}; new. */
extern json_t *nodestate_json(const char *node);

#endif							/* PINGPONG_AGENT_CORE_NODESTATE_H */
