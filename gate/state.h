/*
 * state.h - the state of the write gate, in shared memory.
 *
 * It is looked at by every statement. How the gate keeps its promises is in
 * docs/architecture.md, section 2.
 */
#ifndef PINGPONG_GATE_STATE_H
#define PINGPONG_GATE_STATE_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "gate/seal.h"

/* The order matters: from GATE_STOPS_COMMITS on, nothing with an XID commits. */
typedef enum GateState
{
	GATE_OPEN,
	GATE_HOLD,
	GATE_READ_ONLY,
	GATE_GUARDED,				/* since the start: it is not known yet whether another server is the primary */
	GATE_SEALING,
	GATE_SEALED
} GateState;

#define GATE_STOPS_COMMITS GATE_GUARDED

/* Sessions of this application_name are neither drained away nor misled. */
#define GATE_AGENT_APPLICATION "pingpong-agent"

#define GATE_REASON_LEN 512

/*
 * The gate in shared memory. The atomics are read by anybody without a lock;
 * all the rest is written under `lock`, held exclusively, and may be read
 * without it where a stale value does no harm (a message, a first guess).
 *
 * Each field names the file that writes it. state.c sets all of them up when
 * the server starts, and what belongs to a closed gate is cleared there
 * (gate_open_locked).
 */
typedef struct GateShared
{
	LWLock	   *lock;
	pg_atomic_uint32 state;		/* GateState. Only gate_set_state, under the lock */
	pg_atomic_uint32 held;		/* statements that wait. hooks.c: each backend counts itself, without the lock */
	pg_atomic_uint32 end_held;	/* those that wait end their session. Set by sealing.c and state.c */
	ConditionVariable changed;	/* the gate opened, or end_held was set. Told by state.c and sealing.c */

	/*
	 * The owner, and until when: written by closing.c, in the process that becomes the owner. While guarded there is
	 * none, and guard.c writes the reason.
	 */
	int			owner_pid;		/* 0: none (sealed before a restart) */
	int			owner_slot;		/* index of the owner's PGPROC */
	char		owner_name[NAMEDATALEN];
	char		reason[GATE_REASON_LEN];
	TimestampTz since;
	int64		deadline;		/* gate_clock() when it opens by itself, unless sealed */

	GateSeal	seal;			/* valid while sealed. sealing.c, by the owner; guard.c, by the worker */

	/* where WAL ended when the server was started, if that was after a clean stop; else 0. state.c */
	XLogRecPtr	started_at;

	/* pids of logical replication workers, 0: free. appliers.c: each writes its own, without the lock */
	pg_atomic_uint32 appliers[FLEXIBLE_ARRAY_MEMBER];
} GateShared;

/* NULL: the module was not preloaded, or shared memory is not set up yet. */
extern GateShared *gate_shared;

/* Start-up */
extern void gate_shmem_request(void);
extern void gate_shmem_startup(void);

/* How many places there are in GateShared.appliers. */
extern int	gate_appliers_max(void);

/* ERROR that says how to load the module, unless it has shared memory. */
extern void gate_require_shmem(void);

/*
 * The state as it is in force (open during recovery): a closed gate whose owner
 * is gone or whose time is up, and a seal of an older timeline, count as open
 * (and are opened).
 */
extern GateState gate_state(void);
extern const char *gate_state_name(GateState state);

/* Does the calling process own the closed gate? */
extern bool gate_is_mine(void);

/* How many statements wait at the gate. */
extern int	gate_held_count(void);

/* Copy the seal in force; false if there is none. */
extern bool gate_get_seal(GateSeal *out);

/* ---- for what changes the state (closing.c, sealing.c) ---- */

/* As it is stored: a hold whose time is up has not been opened for that. */
extern GateState gate_raw_state(void);

/*
 * Every store to `state` goes through here, as a full barrier.
 * The lock is held (except at start-up, when there is no other process). What belongs
 * to the new state in GateShared is written before.
 */
extern void gate_set_state(GateState state);

/* The timeline that is written, or replayed, now: a seal of an older one is void. */
extern TimeLineID gate_present_timeline(void);

/* Take the lock (exclusive), and open a gate that no longer counts as closed. */
extern void gate_lock_and_settle(void);

/*
 * Open, from any state, and wake the held statements; the lock is held, and no
 * seal file is there that counts. The log tells why, unless that is NULL.
 */
extern void gate_open_locked(const char *why);

#endif
