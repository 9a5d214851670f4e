/*
 * gate.h - the write gate: what the worker and the SQL functions call.
 *
 * The gate lives in shared memory and is looked at by every statement. How it
 * keeps its promises is in docs/architecture.md, section 2.
 */
#ifndef PINGPONG_GATE_H
#define PINGPONG_GATE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "gate/clock.h"
#include "gate/seal.h"

/* The order matters: from GATE_SEALING on, nothing with an XID commits. */
typedef enum GateState
{
	GATE_OPEN,
	GATE_HOLD,
	GATE_READ_ONLY,
	GATE_SEALING,
	GATE_SEALED
} GateState;

/* Sessions of this application_name are neither drained away nor misled. */
#define GATE_AGENT_APPLICATION "pingpong-agent"

#define GATE_REASON_LEN 128

/* Who keeps the drain waiting. */
typedef struct GateHolder
{
	int			pid;
	TransactionId xid;
	char		state[32];		/* as in pg_stat_activity */
	char		application[NAMEDATALEN];
} GateHolder;

typedef enum DrainHow
{
	DRAIN_LOOK,
	DRAIN_CANCEL
} DrainHow;

typedef struct LagStandby
{
	int			pid;			/* of the walsender */
	const char *state;			/* streaming, catchup, ... */
	XLogRecPtr	sent;
	XLogRecPtr	write;
	XLogRecPtr	flush;
	XLogRecPtr	replay;
	bool		by_slot;		/* it holds the slot; else only its name is right */
} LagStandby;

/*
 * The gate in shared memory. `state` and `held` are read by anybody without a
 * lock; everything else, and every change of `state`, is under `lock`.
 */
typedef struct GateShared
{
	LWLock	   *lock;
	pg_atomic_uint32 state;		/* GateState */
	pg_atomic_uint32 held;		/* statements that wait */
	pg_atomic_uint32 end_held;	/* those that wait end their session */
	ConditionVariable changed;	/* the gate opened, or end_held was set */
	int			owner_pid;		/* 0: nobody (sealed before a restart) */
	int			owner_slot;		/* index of the owner's PGPROC */
	char		owner_name[NAMEDATALEN];
	char		reason[GATE_REASON_LEN];
	TimestampTz since;
	int64		deadline;		/* gate_clock() when it opens by itself, unless sealed */
	GateSeal	seal;			/* valid while sealed */

	/* pids of logical replication workers, 0: free; each writes its own */
	pg_atomic_uint32 appliers[FLEXIBLE_ARRAY_MEMBER];
} GateShared;

extern GateShared *gate_shared;

/* GUCs */
extern bool gate_bypass;
extern int	gate_hold_timeout;

/* gate.c: start-up */
extern void gate_init(void);
extern void gate_shmem_request(void);
extern void gate_shmem_startup(void);

/* ERROR that says how to load the module, unless it has shared memory. */
extern void gate_require_shmem(void);

/*
 * The state as it is in force (open during recovery): a closed gate whose owner is gone or whose time
 * is up, and a seal of an older timeline, count as open (and are opened).
 */
extern GateState gate_state(void);
extern const char *gate_state_name(GateState state);

/*
 * Close the gate (GATE_HOLD or GATE_READ_ONLY), for limit_ms at most; the
 * calling process becomes the owner. ERROR 55006 if another one has closed it.
 */
extern void gate_close(GateState mode, int64 limit_ms, const char *reason);

/*
 * Open the gate from any state but sealed, whoever closed it, and let the held
 * statements go on. False: it was sealed, or open already.
 */
extern bool gate_open(void);

/* Undo what DRAIN_CANCEL did to the state, once nobody holds an XID. */
extern void gate_back_to_hold(void);

/* Does the calling process own the closed gate? */
extern bool gate_is_mine(void);

/*
 * Every statement held at the gate, and every later one while sealed, ends its
 * session with FATAL 57P01. Does nothing unless sealed.
 */
extern void gate_end_held(void);
extern int	gate_held_count(void);

/*
 * Seal the gate, without waiting: from GATE_HOLD (by its owner) to
 * GATE_SEALING; false while a process still holds an XID (call again).
 * Otherwise flush, make the seal durable and return true with its LSN. ERROR
 * if the gate has opened by itself in between or the file cannot be written.
 * The caller must have no XID.
 */
extern bool gate_seal_try(const GateSeal *info, XLogRecPtr *lsn);

/*
 * Remove the seal durably, then open; the log tells why. False: it was not
 * sealed. ERROR if the file cannot be removed; then it is sealed as before.
 */
extern bool gate_unseal(const char *why);

/* Copy the seal in force; false if there is none. */
extern bool gate_get_seal(GateSeal *out);

/* Remove a seal file that an older timeline left; for the worker, when idle. */
extern void gate_remove_void_seal(void);

/*
 * appliers.c: logical replication workers. commits: to be called before a
 * commit or prepare; FATAL if this is one and the gate is closed. appliers:
 * the pid of one of them, 0 if there is none. end: SIGTERM for all.
 */
extern int	gate_appliers_max(void);
extern void gate_applier_commits(void);
extern int	gate_appliers(int *n);
extern void gate_end_appliers(void);

/*
 * drain.c: one look, without waiting, at the processes that hold an XID and at
 * logical replication workers (which are told to end); returns their number.
 * `first` (may be NULL; costs a copy of the activity array) gets the facts of
 * one of them. DRAIN_CANCEL also cancels the active
 * and ends the idle, and moves GATE_HOLD to GATE_SEALING first, so that an
 * idle session that is ended cannot be in the middle of its COMMIT.
 */
extern int	gate_drain(DrainHow how, GateHolder *first);

/*
 * End client sessions with SIGTERM (not walsenders, background workers, agents
 * or except_pid); idle_only spares those that run a statement. Returns how many
 * client sessions there still are, the ones just told to end included.
 */
extern int	gate_end_sessions(bool idle_only, int except_pid);

/* How many client sessions there are. */
extern int	gate_client_sessions(void);

/*
 * lag.c: where the standby is that streams from this physical slot (may be
 * NULL), or else one with this application_name; false if there is neither.
 * Cheap enough to be called each millisecond.
 */
extern bool lag_standby(const char *name, const char *slot, LagStandby *out);

/* Position behind the last WAL record, as XLogFlush and standbys count it. */
extern XLogRecPtr gate_insert_end(void);

/*
 * refuse.c: what a client is told. refuse: ERROR 25006; may_commit: the
 * transaction may be committed even so, if it gets over this. end_session:
 * FATAL 57P01 for a statement that waits at the gate. note_commit: to be called
 * when a transaction was committed or prepared.
 */
extern void gate_refuse(GateState state, bool may_commit);
extern void gate_end_session(void);
extern void gate_note_commit(void);

/*
 * login.c: sessions that logged in while sealed. read_only_login: this is one,
 * and read-only by default for that reason. writes_again: undoes that for the
 * present transaction if the gate is open; to be called before each statement
 * of such a session, behind the gate. commits, ended: to be called before each
 * commit and after each transaction.
 */
extern bool gate_read_only_login;
extern void gate_login_writes_again(void);
extern void gate_login_commits(void);
extern void gate_login_ended(bool committed);

/* hooks.c, called by gate_init */
extern void gate_install_hooks(void);

/* Used inside gate/ only. */
extern void gate_lock_and_settle(void);

#endif
