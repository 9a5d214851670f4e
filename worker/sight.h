/*
 * sight.h - what the agents told of their nodes when a failover was asked about (the action pg.look).
 *
 * In shared memory: a failover is asked for on a standby, where nothing can be stored in a table. The worker
 * writes it, any backend reads it, each under its lock. It is of the last question; after a restart of the server
 * it is empty.
 */
#ifndef PINGPONG_SIGHT_H
#define PINGPONG_SIGHT_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "worker/run.h"

#define SIGHT_NODES		64

/* Of one node. "", 0 and invalid: not told. */
typedef struct Sight
{
	char		node[PP_NAME_LEN];
	TimestampTz at;				/* when the answer came, or was given up */
	bool		answered;
	char		error[256];		/* why there was no answer, or why its server gave none to its agent */
	char		role[12];		/* as in pg.look of the agent */
	bool		running;
	int			timeline;
	char		system[24];
	XLogRecPtr	received;
	XLogRecPtr	replayed;
	bool		replaying;
	bool		streaming;
	char		sender[272];
	double		heard_ms;		/* how long ago it had a word from its sender; < 0: not told */
	int64		epoch;
	int64		claimed;
	char		arbiter[PP_NAME_LEN];	/* "": its agent has none */
	char		arbiter_error[256]; /* why that gave no answer; its epoch and claim count as the agent's */
	bool		fences;			/* it has a hook that makes certain that the old primary's host is off */
	char		sync_names[256];
	int			reached;		/* a server answers it at the old primary's address: 1, 0; -1: it was not asked */
} Sight;

extern void sight_shmem_request(void);
extern void sight_shmem_startup(void);

/*
 * Only the worker calls these. sight_ask() asks every node of the run; `source` is the old primary. sight_take()
 * gives true while answers are outstanding.
 */
extern void sight_ask(Run *run, const char *source);
extern bool sight_take(Run *run);

/* The question that sight_ask() puts, for one step of a run; a new reference. */
extern json_t *sight_params(Run *run, const char *source);

/* A copy of all of it (SIGHT_NODES entries); gives the number of nodes. */
extern int	sight_read(Sight *to);

#endif
