/*
 * nodestate.h
 *		The state of the node, as a sampler saw it last: so that health, metrics and a page cost no query.
 */
#ifndef PINGPONG_AGENT_CORE_NODESTATE_H
#define PINGPONG_AGENT_CORE_NODESTATE_H

#include <jansson.h>
#include <stdbool.h>

#define NODESTATE_ASKED_MS 50
#define NODESTATE_LOOK_MS 1000	/* a look has ended by then */

typedef enum NodeRole
{
	ROLE_UNKNOWN,				/* not seen yet, or not for too long: never taken for another one */
	ROLE_NONE,					/* this agent has no PostgreSQL */
	ROLE_DOWN,					/* its server does not answer */
	ROLE_PRIMARY,
	ROLE_SEALED,				/* out of recovery, and takes no writes of clients any more */
	ROLE_STANDBY,
	ROLE_GUARDED				/* out of recovery, and takes none before it knows that nobody has replaced it */
} NodeRole;

typedef struct NodeState
{
	NodeRole	role;
	int			timeline;		/* 0: not known */
	char		version[32];	/* of PostgreSQL; "": not known */
	char		lsn[24];		/* written, or replayed; "": not known */
	bool		streaming;		/* of a standby */
	double		streamed_ms;	/* CLOCK_REALTIME: when it was seen to stream last; 0: never */
	/* of its data directory, also without its server; looked at for whoever wants a fresh look */
	bool		data_known;
	unsigned long long data_system;
	unsigned	data_timeline;	/* the highest that it is known to be on */
	unsigned	data_history;	/* the highest with a history file; 0: none */
	bool		data_standby;	/* a standby's for certain */
	bool		data_sealed;	/* it has a seal that counts */
	unsigned long long system;	/* identifier; 0: not known */
	bool		takes_writes;	/* a primary whose gate is open; false: it is not, or nobody knows */
	long long	lag;			/* of a standby: bytes that its upstream had and it has not replayed; -1: not known */
	bool		current;		/* the looks go on: set by nodestate_get() */
	double		seen_ms;		/* CLOCK_REALTIME */
	double		looked_at;		/* CLOCK_MONOTONIC, ms: when that look began */
	double		good_until;		/* CLOCK_MONOTONIC, ms; behind it the role is ROLE_UNKNOWN */
} NodeState;

extern void nodestate_set(const NodeState *state);
extern NodeState nodestate_get(void);

/*
 * Somebody decides by it where clients are sent: for some seconds the sampler looks more often, at least each
 * NODESTATE_ASKED_MS.
 */
extern void nodestate_asked(void);

/*
 * The present state, where the looks go on as quickly as nodestate_asked() wants them. An older one is of before
 * somebody asked: then a fresh one, see nodestate_fresh().
 */
extern NodeState nodestate_recent(int limit_ms);

/* For the sampler: waits until the next look is due or wanted, at most for the interval. */
extern void nodestate_await_look(int interval_ms);
extern const char *nodestate_role_name(NodeRole role);

/*
 * Waits until somebody has looked who began it after this call, for limit_ms at most. A state that is not fresh has
 * ROLE_UNKNOWN and no data directory: who asks so wants to know how it is now.
 */
extern NodeState nodestate_fresh(int limit_ms);

/* For the sampler: is a fresh look wanted that has not begun? */
extern bool nodestate_take_wish(void);

/*
 * {"node", "role", "version", "timeline", "lsn", "streaming", "streamed_ms", "system_identifier", "data", "seen_ms",
 * "age_ms"}; a new reference.
 */
extern json_t *nodestate_json(const char *node, const NodeState *state);

#endif							/* PINGPONG_AGENT_CORE_NODESTATE_H */
