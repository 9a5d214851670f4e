/*
 * drain.c - which processes still write, and how they are told to stop.
 *
 * A process that writes holds an XID, so one pass over the proc array finds them all. Left out are prepared
 * transactions (no process; they are in the WAL), autovacuum (its commit fails after the seal, and nothing is lost by
 * that), and this process. Logical replication workers count whether they write or not: they may commit what others
 * have prepared (see appliers.c).
 */
#include "postgres.h"

#include <signal.h>

#include "access/transam.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/syncrep.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#include "gate/appliers.h"
#include "gate/clock.h"
#include "gate/closing.h"
#include "gate/drain.h"
#include "gate/state.h"
#include "pg_compat.h"

#define CANCEL_PAUSE_US		(20 * 1000)	/* give a cancelled backend time to abort */
#define STUBBORN_US			(500 * 1000)	/* by then a cancel has had its effect, or will have none */

typedef struct Holder
{
	int			pid;
	TransactionId xid;
	bool		waits_for_standby;
	bool		commits;		/* its commit record is written, or about to be */
	bool		waits_for_client;
	int64		since;			/* gate_clock() when it was first told to stop */
} Holder;

static bool
waits_for_client(const PGPROC *proc)
{
	uint32		event = *(volatile const uint32 *) &proc->wait_event_info;

	return event == WAIT_EVENT_CLIENT_READ || event == WAIT_EVENT_CLIENT_WRITE;
}

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
			/* before syncRepState: it comes first */
			holders[n].commits = (proc->delayChkptFlags & DELAY_CHKPT_START) != 0;
			pg_read_barrier();
			holders[n].waits_for_standby = proc->syncRepState != SYNC_REP_NOT_WAITING;
			holders[n].waits_for_client = waits_for_client(proc);
			holders[n].since = 0;
		}
		n++;
	}
	LWLockRelease(ProcArrayLock);
	return n;
}

/* ---- what a process does ---- */

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

/*
 * Without track_activities a session does not tell. One that waits for the
 * next word of its client is idle then; that may be in the middle of a COPY.
 */
static bool
is_idle(const PgBackendStatus *activity, bool waiting_for_client)
{
	switch (activity->st_state)
	{
		case STATE_IDLE:
		case STATE_IDLEINTRANSACTION:
		case STATE_IDLEINTRANSACTION_ABORTED:
			return true;
		case STATE_DISABLED:
			return waiting_for_client;
		default:
			return false;
	}
}

static const char *
activity_state_name(const PgBackendStatus *activity, bool waiting_for_client)
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
		case STATE_DISABLED:
			return waiting_for_client ? "waits for its client" : "not tracked";
		default:
			return waiting_for_client ? "active, waits for its client" : "active";
	}
}

static void
describe_holder(const Holder *holder, GateHolder *out)
{
	PgBackendStatus *activity = find_activity(holder->pid);

	out->pid = holder->pid;
	out->xid = holder->xid;
	strlcpy(out->state, activity_state_name(activity, holder->waits_for_client), sizeof(out->state));
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

/* ---- telling them to stop ---- */

/* The holders that were told to stop when we last looked, to know since when. */
static Holder *told = NULL;
static int	ntold = 0;

static int64
told_since(const Holder *holder, int64 now)
{
	for (int i = 0; i < ntold; i++)
	{
		if (told[i].pid == holder->pid && told[i].xid == holder->xid)
			return told[i].since;
	}
	return now;
}

/*
 * A cancel keeps the session. It does not reach the idle, nor one that waits
 * in the middle of a statement for a client that neither sends nor reads; and
 * code that catches it goes on. Those are ended: SIGTERM reaches all but a
 * process that does not run, or that waits without ever looking.
 */
static int
signal_for(const Holder *holder, int64 now)
{
	PgBackendStatus *activity = find_activity(holder->pid);

	if (activity && is_idle(activity, holder->waits_for_client))
		return SIGTERM;
	if (holder->waits_for_client && holder->since < now)
		return SIGTERM;
	return now - holder->since > STUBBORN_US ? SIGTERM : SIGINT;
}

/*
 * One that waits for a synchronous standby has committed already: stopping it would acknowledge what no standby has.
 * So would a cancel of one that is about to wait, as its commit record is being flushed; ended there, it would have
 * committed and told no client.
 */
static void
stop_holders(Holder *holders, int n, int64 now)
{
	for (int i = 0; i < n; i++)
	{
		holders[i].since = holders[i].commits ? now : told_since(&holders[i], now);
		if (holders[i].commits || holders[i].waits_for_standby)
			continue;
		if (kill(holders[i].pid, signal_for(&holders[i], now)) != 0)
			elog(DEBUG1, "could not signal process %d: %m", holders[i].pid);
	}
	if (told == NULL)
		told = MemoryContextAlloc(TopMemoryContext, ProcGlobal->allProcCount * sizeof(Holder));
	memcpy(told, holders, n * sizeof(Holder));
	ntold = n;
}

/* Is it time to tell them, again? */
static bool
pause_is_over(int64 *last)
{
	int64		now = gate_clock();

	if (now - *last < CANCEL_PAUSE_US)
		return false;
	*last = now;
	return true;
}

/* More than a number is wanted of the holders. */
static int
look_closely(DrainHow how, GateHolder *first)
{
	static int64 last = 0;
	Holder	   *holders = palloc(ProcGlobal->allProcCount * sizeof(Holder));
	int			n = find_holders(holders, ProcGlobal->allProcCount);

	pgstat_clear_backend_activity_snapshot();
	if (n > 0 && how == DRAIN_CANCEL && pause_is_over(&last))
		stop_holders(holders, n, last);
	if (n > 0 && first)
		describe_holder(&holders[0], first);
	pgstat_clear_backend_activity_snapshot();
	pfree(holders);
	return n;
}

int
gate_drain(DrainHow how, GateHolder *first)
{
	static int64 last = 0;
	int			appliers;
	int			applier = gate_appliers(&appliers);
	int			n;

	if (how == DRAIN_CANCEL)
		gate_stop_commits();
	if (appliers > 0 && pause_is_over(&last))
		gate_end_appliers();
	n = how == DRAIN_CANCEL || first ? look_closely(how, first) : find_holders(NULL, 0);
	if (n == 0 && appliers > 0 && first)
		describe_applier(applier, first);
	return n + appliers;
}

/* ---- sessions ---- */

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

static bool
client_is_waited_for(int pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);

	return proc != NULL && waits_for_client(proc);
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
		if (!idle_only || is_idle(activity, client_is_waited_for(activity->st_procpid)))
			(void) kill(activity->st_procpid, SIGTERM);
	}
	pgstat_clear_backend_activity_snapshot();
	return remaining;
}
