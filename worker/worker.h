/*
 * worker.h - the background worker: what its files and the SQL functions share.
 *
 * One worker per cluster, also on standbys. Backends talk to it through one
 * mailbox in shared memory: a request, a ring of events, an answer.
 */
#ifndef PINGPONG_WORKER_H
#define PINGPONG_WORKER_H

#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define PP_NAME_LEN		64
#define PP_TEXT_LEN		512
#define PP_OPTIONS_LEN	1024
#define PP_EVENTS		128
#define PP_STEPS		96

typedef enum RequestKind
{
	REQUEST_NONE,
	REQUEST_FACTS,				/* ask every agent, store what it said */
	REQUEST_SWITCHOVER,			/* with preflight */
	REQUEST_RUN					/* another runbook, named in the options */
} RequestKind;

/* An error or a sentence for somebody else: fixed size, no pointers. */
typedef struct Verdict
{
	char		sqlstate[6];	/* empty: no error */
	char		message[PP_TEXT_LEN];
	char		detail[4 * PP_TEXT_LEN];
	char		hint[PP_TEXT_LEN];
} Verdict;

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
} Event;

/*
 * A question to the worker whether it could take a run over, on a standby too (probe.c). Written by one asking backend
 * at a time (`asker`), answered by the worker.
 */
typedef struct Probe
{
	uint64		asked;			/* number of the last question */
	uint64		answered;
	pid_t		asker;			/* 0: nobody waits */
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
 * All of it is read and written under `lock`. The worker writes everything
 * but the request, which the asking backend writes while `busy` is false.
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
	pid_t		asker;			/* pid to wake; 0: nobody waits */
	bool		superuser;		/* the asking role is one: it may take risks */
	char		requested_by[NAMEDATALEN];
	char		target[PP_NAME_LEN];
	char		options[PP_OPTIONS_LEN];	/* jsonb text */

	/* answer */
	uint64		answered;		/* number of the last request answered */
	Outcome		outcome;
	Verdict		verdict;
	uint64		nevents;		/* ever; the ring holds the last PP_EVENTS */
	Event		events[PP_EVENTS];

	Probe		probe;

	/* the present run, for pingpong.progress */
	int64		run;
	char		run_state[16];
	bool		run_ordered;	/* the promotion was ordered here: the run cannot be cancelled here any more */
	char		sentence[PP_TEXT_LEN];
	int			nsteps;
	StepLine	steps[PP_STEPS];
} WorkerShared;

extern WorkerShared *worker_shared;

/* GUCs */
extern char *worker_database;
extern char *worker_node_name;
extern char *worker_token_file;
extern char *worker_ca_file;
extern char *worker_cert_file;
extern char *worker_key_file;
extern char *worker_pause_after;
extern int	worker_sample_interval;
extern int	worker_connect_timeout;
extern int	worker_rejoin_timeout;

/* worker.c */
extern void worker_init(void);
extern void worker_shmem_request(void);
extern void worker_shmem_startup(void);
extern const char *worker_self(void);
extern uint32 worker_wait_event(void);

/* mailbox.c */
extern void mailbox_attach(void);
extern void mailbox_detach(int code, Datum arg);
extern void mailbox_ready(bool ready);
extern bool mailbox_take(RequestKind *kind, char *target, char *options, char *requested_by);
extern bool mailbox_cancelled(void);
extern bool mailbox_of_superuser(void);
extern bool mailbox_cancel_wanted(int64 run);
extern void mailbox_answer(const Outcome *outcome, const Verdict *verdict);
extern void mailbox_finish(void);
extern void mailbox_event(const char *fmt,...) pg_attribute_printf(1, 2);
extern bool mailbox_awake(void);
extern pid_t worker_asker(void);

/* place.c: is this where, and as, requests can be made? ERROR 55000 with the remedy if not. */
extern void place_require_database(void);
extern void place_require_worker(void);
extern void place_wake_worker(void);

/* probe.c */
extern bool probe_wanted(void);
extern long probe_advance(bool ready);
extern void probe_failed(const char *problem);

extern void verdict_set(Verdict *v, const char *sqlstate, const char *message);

#endif
