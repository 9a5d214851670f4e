/*
 * closing.c - closing the gate, and opening what is not sealed.
 *
 * Closing makes the calling process the owner. A hold ends when its owner ends or its time is up (state.c), or by an
 * explicit call here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "gate/appliers.h"
#include "gate/clock.h"
#include "gate/closing.h"
#include "gate/state.h"
#include "pg_compat.h"

int			gate_hold_timeout = 60 * 1000;

/* The owner ends: its hold must not outlive it by a held statement's nap. */
static void
open_at_exit(int code, Datum arg)
{
	if (!gate_is_mine())
		return;
	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	if (gate_is_mine() && gate_raw_state() != GATE_SEALED)
		gate_open_locked("its owner is gone");
	else if (gate_is_mine())
		gate_shared->owner_pid = 0; /* the number may be used again */
	LWLockRelease(gate_shared->lock);
}

static void
become_owner(const char *reason, int64 limit_ms)
{
	static bool at_exit = false;

	if (!at_exit)
		before_shmem_exit(open_at_exit, (Datum) 0);
	at_exit = true;

	gate_shared->owner_pid = MyProcPid;
	gate_shared->owner_slot = MyProc - ProcGlobal->allProcs;
	strlcpy(gate_shared->owner_name,
			MyBgworkerEntry ? "worker" : application_name ? application_name : "",
			sizeof(gate_shared->owner_name));
	strlcpy(gate_shared->reason, reason, sizeof(gate_shared->reason));
	gate_shared->since = GetCurrentTimestamp();
	gate_shared->deadline = gate_clock() + limit_ms * 1000;
}

void
gate_close(GateState mode, int64 limit_ms, const char *reason)
{
	Assert(mode == GATE_HOLD || mode == GATE_READ_ONLY);

	gate_lock_and_settle();
	if (gate_raw_state() != GATE_OPEN)
	{
		GateState	state = gate_raw_state();
		int			pid = gate_shared->owner_pid;

		LWLockRelease(gate_shared->lock);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the write gate is already closed"),
				 pid == 0 ? errdetail("Its state is \"%s\".", gate_state_name(state)) :
				 errdetail("Its state is \"%s\", its owner is process %d.", gate_state_name(state), pid),
				 errhint("See the view pingpong.gate.")));
	}
	become_owner(reason, limit_ms);
	pg_atomic_write_u32(&gate_shared->end_held, 0);
	gate_set_state(mode);
	gate_end_appliers();
	LWLockRelease(gate_shared->lock);
}

bool
gate_open(void)
{
	bool		opened = false;

	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	if (gate_raw_state() != GATE_OPEN && gate_raw_state() != GATE_SEALED && gate_raw_state() != GATE_GUARDED)
	{
		gate_open_locked(NULL);
		opened = true;
	}
	LWLockRelease(gate_shared->lock);
	return opened;
}

/* ---- during a drain ---- */

/* No commit passes any more, so that ending a session is a definite answer. */
void
gate_stop_commits(void)
{
	gate_lock_and_settle();
	if (gate_is_mine() && pg_atomic_read_u32(&gate_shared->state) == GATE_HOLD)
		gate_set_state(GATE_SEALING);
	LWLockRelease(gate_shared->lock);
}

void
gate_back_to_hold(void)
{
	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	if (gate_is_mine() && gate_raw_state() == GATE_SEALING)
		gate_set_state(GATE_HOLD);
	LWLockRelease(gate_shared->lock);
}
