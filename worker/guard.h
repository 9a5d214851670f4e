/*
 * guard.h - the guard at boot: a primary that was started asks the agents of the other nodes whether it was replaced.
 *
 * The worker asks and decides (common/guard.c has the rule); any backend reads what was said, also later.
 */
#ifndef PINGPONG_WORKER_GUARD_H
#define PINGPONG_WORKER_GUARD_H

#include "datatype/timestamp.h"

#include "common/guard.h"
#include "gate/peers.h"

/* What one agent said in the last round. */
typedef struct GuardLine
{
	char		node[NAMEDATALEN];
	GuardKind	kind;
	GuardWord	word;
	TimestampTz asked_at;
	char		detail[256];
} GuardLine;

typedef enum GuardPhase
{
	GUARD_NONE,					/* this server was not started as a primary with peers */
	GUARD_ASKING,
	GUARD_STAYS,				/* the time is up */
	GUARD_PROVED,				/* open, as each server's agent has said so */
	GUARD_BY_MAJORITY,			/* open, without each */
	GUARD_UNPROVED,				/* open, as pingpong.guard_unanswered says */
	GUARD_BY_HAND,
	GUARD_REPLACED				/* sealed */
} GuardPhase;

#define GUARD_LINES		(PEERS_MAX + 1)		/* one of an arbiter */

typedef struct GuardNews
{
	GuardPhase	phase;
	int64		asking_since;	/* now_us(); 0: nothing was asked yet. A worker that is restarted goes on */
	TimestampTz since;
	TimestampTz ended_at;		/* 0: it is still guarded */
	int			rounds;
	char		sentence[512];
	int			n;
	GuardLine	lines[GUARD_LINES];
} GuardNews;

/* From the hooks of the same names; guard_shmem_startup() also after a crash restart. */
extern void guard_shmem_request(void);
extern void guard_shmem_startup(void);

/* Any process: a copy. */
extern void guard_read(GuardNews *to);

/*
 * The worker, before it attaches to its database (which may not be there): asks until it is decided, or the time is
 * up, or the epoch must be looked up in the database.
 */
extern void guard_before_database(void);

/* The worker, in its loop; gives the longest nap in ms. `ready`: the extension is there. Nothing unless guarded. */
extern long guard_advance(bool ready);

/* Is this server guarded? */
extern bool guard_is_on(void);

/* The worker, while guarded: refuses what a backend asks for. */
extern void guard_reject(void);

#endif
