/*
 * drain.c - who still writes, and how it is told to stop.
 *
 * Whoever writes holds an XID, so one pass over the proc array answers the
 * question. Left out: prepared transactions (no process; they travel in the
 * WAL), autovacuum (its commit fails after the seal and nothing is lost by
 * that), and ourselves. Logical replication workers count whether they write
 * or not: they may commit what others have prepared (see appliers.c).
 */
#include "postgres.h"

#include <signal.h>

#include "access/transam.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "gate/gate.h"
#include "pg_compat.h"

#define CANCEL_PAUSE_MS		20	/* give a cancelled backend time to abort */

typedef struct Holder
{
	int			pid;
	TransactionId xid;
	bool		waits_for_standby;
} Holder;

/*
 * Collect up to max holders, return how many there are. PGPROC entries are
 * never freed; the lock keeps them from leaving the array while we read.
 */
static int
find_holders(Holder *holders, int max)
{
	int			n = 0;

	LWLockAcquire(ProcArrayLock, LW_SHARED);
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		TransactionId xid = *(volatile TransactionId *) &proc->xid;

		if (!TransactionIdIsValid(xid) || proc->pid == 0 || proc == MyProc ||
			(proc->statusFlags & PROC_IS_AUTOVACUUM) != 0)
			continue;
		if (n < max)
		{
			holders[n].pid = proc->pid;
			holders[n].xid = xid;
			holders[n].waits_for_standby = proc->syncRepState != SYNC_REP_NOT_WAITING;
		}
		n++;
	}
	LWLockRelease(ProcArrayLock);
	return n;
}

/* Our own copy of what process pid does; NULL if it is gone. */
static PgBackendStatus *
find_activity(int pid)
{
	int			n = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = compat_local_beentry(i);

		if (local && local->backendStatus.st_procpid == pid)
			return &local->backendStatus;
	}
	return NULL;
}

static bool
is_idle(const PgBackendStatus *activity)
{
	return activity->st_state == STATE_IDLE ||
		activity->st_state == STATE_IDLEINTRANSACTION ||
		activity->st_state == STATE_IDLEINTRANSACTION_ABORTED;
}

static const char *
activity_state_name(const PgBackendStatus *activity)
{
	if (activity == NULL)
		return "gone";
	switch (activity->st_state)
	{
		case STATE_IDLE:
			return "idle";
		case STATE_IDLEINTRANSACTION:
			return "idle in transaction";
		case STATE_IDLEINTRANSACTION_ABORTED:
			return "idle in transaction (aborted)";
		case STATE_FASTPATH:
			return "fastpath function call";
		default:
			return "active";
	}
}

static void
describe_holder(const Holder *holder, GateHolder *out)
{
	PgBackendStatus *activity = find_activity(holder->pid);

	out->pid = holder->pid;
	out->xid = holder->xid;
	strlcpy(out->state, activity_state_name(activity), sizeof(out->state));
	if (holder->waits_for_standby)
		strlcpy(out->state, "waits for a standby", sizeof(out->state));
	strlcpy(out->application,
			activity && activity->st_appname ? activity->st_appname : "",
			sizeof(out->application));
}

static void
describe_applier(int pid, GateHolder *out)
{
	memset(out, 0, sizeof(*out));
	out->pid = pid;
	strlcpy(out->state, "logical replication worker", sizeof(out->state));
}

/* No commit passes any more, so that ending a session is a definite answer. */
static void
stop_commits(void)
{
	gate_lock_and_settle();
	if (gate_is_mine() && pg_atomic_read_u32(&gate_shared->state) == GATE_HOLD)
		pg_atomic_exchange_u32(&gate_shared->state, GATE_SEALING);
	LWLockRelease(gate_shared->lock);
}

/*
 * Cancel the active, end the idle (a cancel does not reach them). One that
 * waits for a synchronous standby has committed already: cancelling would
 * acknowledge what no standby has.
 */
static void
cancel_holders(const Holder *holders, int n)
{
	static TimestampTz last_cancel = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(last_cancel, now, CANCEL_PAUSE_MS))
		return;
	last_cancel = now;

	for (int i = 0; i < n; i++)
	{
		PgBackendStatus *activity = find_activity(holders[i].pid);

		if (activity == NULL || holders[i].waits_for_standby)
			continue;
		if (kill(holders[i].pid, is_idle(activity) ? SIGTERM : SIGINT) != 0)
			elog(DEBUG1, "could not signal process %d: %m", holders[i].pid);
	}
}

/* Again and again: one that was just starting may have missed the signal. */
static void
end_appliers(void)
{
	static TimestampTz last = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(last, now, CANCEL_PAUSE_MS))
		return;
	last = now;
	gate_end_appliers();
}

int
gate_drain(DrainHow how, GateHolder *first)
{
	Holder		holders[64];
	int			appliers;
	int			applier = gate_appliers(&appliers);
	int			n;

	if (how == DRAIN_CANCEL)
		stop_commits();
	if (appliers > 0)
		end_appliers();

	n = find_holders(holders, lengthof(holders));
	if (n + appliers == 0 || (how == DRAIN_LOOK && first == NULL))
		return n + appliers;

	pgstat_clear_backend_activity_snapshot();
	if (first && n > 0)
		describe_holder(&holders[0], first);
	else if (first)
		describe_applier(applier, first);
	if (how == DRAIN_CANCEL)
		cancel_holders(holders, Min(n, (int) lengthof(holders)));
	pgstat_clear_backend_activity_snapshot();
	return n + appliers;
}

/* A client's session, that is: neither ours, nor an agent's, nor replication. */
static bool
is_client(const PgBackendStatus *activity, int except_pid)
{
	return activity->st_backendType == B_BACKEND &&
		activity->st_procpid > 0 &&
		activity->st_procpid != MyProcPid &&
		activity->st_procpid != except_pid &&
		(activity->st_appname == NULL ||
		 strcmp(activity->st_appname, GATE_AGENT_APPLICATION) != 0);
}

int
gate_client_sessions(void)
{
	int			clients = 0;
	int			n;

	pgstat_clear_backend_activity_snapshot();
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = compat_local_beentry(i);

		clients += local != NULL && is_client(&local->backendStatus, 0);
	}
	pgstat_clear_backend_activity_snapshot();
	return clients;
}

int
gate_end_sessions(bool idle_only, int except_pid)
{
	int			remaining = 0;
	int			n;

	pgstat_clear_backend_activity_snapshot();
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = compat_local_beentry(i);
		PgBackendStatus *activity = local ? &local->backendStatus : NULL;

		if (activity == NULL || !is_client(activity, except_pid))
			continue;
		remaining++;
		if (!idle_only || is_idle(activity))
			(void) kill(activity->st_procpid, SIGTERM);
	}
	pgstat_clear_backend_activity_snapshot();
	return remaining;
}
