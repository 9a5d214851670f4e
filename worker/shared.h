/*
 * shared.h - the shared memory of worker and backends.
 *
 * One worker per cluster, also on standbys. Backends talk to it through one
 * mailbox: a request, a ring of events, an answer.
 */
#ifndef PINGPONG_WORKER_SHARED_H
#define PINGPONG_WORKER_SHARED_H

#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "worker/failure.h"

#define PP_OPTIONS_LEN	1024
#define PP_EVENTS		128
#define PP_STEPS		96

typedef enum RequestKind
{
	REQUEST_NONE,
	REQUEST_FACTS,				/* ask every agent, store what it said */
	REQUEST_SWITCHOVER,			/* with preflight */
	REQUEST_RUN,				/* another runbook, named in the options */
	REQUEST_SIGHT,				/* on a standby: ask every agent what a failover has to know */
	REQUEST_FAILOVER			/* on a standby */
} RequestKind;

/* What a run ended with, or has reached so far. */
typedef struct Outcome
{
	int64		run;			/* 0: no run was made */
	char		state[16];
	double		blackout_ms;	/* < 0: not known */
	uint64		seal_lsn;
	char		new_primary[PP_NAME_LEN];
} Outcome;

typedef struct Event
{
	TimestampTz at;
	char		text[256];
	char		hint[160];		/* "": none */
} Event;

/*
 * A question to the worker whether it could take a run over, on a standby too (probe.c). Written by one asking
 * backend at a time (`asker`), answered by the worker.
 */
typedef struct Probe
{
	uint64		asked;			/* number of the last question */
	uint64		answered;
	pid_t		asker;			/* 0: none waits */
	char		run[PP_NAME_LEN];	/* key of the run; empty: no particular one */
	char		version[16];	/* of the module that asks; empty: not told */
	char		problem[PP_TEXT_LEN];	/* empty: it could */
} Probe;

/* One line of pingpong.progress. */
typedef struct StepLine
{
	int			ordinal;
	char		action[32];
	char		node[PP_NAME_LEN];
	char		state[12];
	TimestampTz started;		/* 0: not yet */
	double		ms;				/* duration, or so far */
	int			attempt;
	char		message[160];
} StepLine;

/*
 * All of it is read and written under `lock`. Who writes what: the request, the asking backend while `busy` is false,
 * `cancel` and `asker` also later; `cancel_run` and `awake_until`, any backend; the question of the probe, the
 * backend that asks it (`probe.asker`); all else, the worker.
 */
typedef struct WorkerShared
{
	LWLock	   *lock;
	pid_t		pid;			/* the worker's, 0: none is running */
	bool		ready;			/* it has found the extension in its database */
	int64		awake_until;	/* gate_clock(): be quick until then, a promotion may come */

	/* request */
	bool		busy;			/* a request is waiting or being worked on */
	bool		cancel;			/* the asking backend wants it undone */
	int64		cancel_run;		/* an operator gives up the run of this number (any backend writes it); 0: none */
	uint64		request;		/* number of the last request */
	RequestKind kind;
	pid_t		asker;			/* pid to wake; 0: none waits */
	bool		superuser;		/* the asking role is one: it may take risks */
	char		requested_by[NAMEDATALEN];
	char		target[PP_NAME_LEN];
	char		options[PP_OPTIONS_LEN];	/* jsonb text */

	/* answer */
	uint64		answered;		/* number of the last request answered */
	Outcome		outcome;
	Failure		failure;
	uint64		nevents;		/* ever; the ring holds the last PP_EVENTS */
	Event		events[PP_EVENTS];

	Probe		probe;

	TimestampTz alerts_at;		/* all rules of alerts were looked at last; 0: not since the start */

	/* the present run, for pingpong.progress */
	int64		run;
	char		run_state[16];
	bool		run_ordered;	/* the promotion was ordered here: the run cannot be cancelled here any more */
	char		sentence[PP_TEXT_LEN];
	int			nsteps;
	StepLine	steps[PP_STEPS];
} WorkerShared;

extern WorkerShared *worker_shared;

/* From the hooks of the same names; worker_shmem_startup() also after a crash restart. */
extern void worker_shmem_request(void);
extern void worker_shmem_startup(void);

/* Sets the latch of the worker; nothing if none runs. */
extern void shared_wake_worker(void);

/* Sets the latch of a backend; nothing for 0 or one that is gone. */
extern void shared_wake(pid_t pid);

#endif
