/*
 * request.c - the asking backend's end of the mailbox: puts a request, shows what happens, takes the answer.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"

#include "gate/clock.h"
#include "pg_compat.h"
#include "worker/request.h"
#include "worker/settings.h"

#define WAIT_MS		100
#define DROP_US		(3 * 1000 * 1000)	/* for a request to be dropped that no session waits for */
#define DEAD_US		(5 * 1000 * 1000)	/* for a worker that died to be back */
#define UNDO_US		(15 * 1000 * 1000)	/* for a run to be rolled back */
#define BEHIND_US	(5 * 1000 * 1000)	/* for one that cannot be rolled back any more to succeed */

static RequestKind
request_kind(const char *name)
{
	if (strcmp(name, "facts") == 0)
		return REQUEST_FACTS;
	if (strcmp(name, "sight") == 0)
		return REQUEST_SIGHT;
	if (strcmp(name, "failover") == 0)
		return REQUEST_FAILOVER;
	return strcmp(name, "switchover") == 0 ? REQUEST_SWITCHOVER : REQUEST_RUN;
}

bool
request_is_of_standby(const char *kind)
{
	return request_kind(kind) == REQUEST_SIGHT || request_kind(kind) == REQUEST_FAILOVER;
}

/* Puts the request into the mailbox, unless one is being worked on. */
static bool
post_if_idle(Request *request, const char *kind, const char *target, const char *options, const char *role)
{
	bool		busy;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	busy = worker_shared->busy;
	if (!busy)
	{
		worker_shared->busy = true;
		worker_shared->cancel = false;
		worker_shared->kind = request_kind(kind);
		worker_shared->asker = MyProcPid;
		worker_shared->superuser = superuser();
		worker_shared->request++;
		strlcpy(worker_shared->requested_by, role, NAMEDATALEN);
		strlcpy(worker_shared->target, target, PP_NAME_LEN);
		strlcpy(worker_shared->options, options, PP_OPTIONS_LEN);
		request->number = worker_shared->request;
		request->only_asks = worker_shared->kind == REQUEST_FACTS || worker_shared->kind == REQUEST_SIGHT;
		request->last_run = worker_shared->run;
		request->cancelled = 0;
	}
	LWLockRelease(worker_shared->lock);
	return !busy;
}

/* Is the one that is being worked on about to be dropped? */
static bool
will_be_idle(void)
{
	bool		will;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	will = !worker_shared->busy || (worker_shared->cancel && worker_shared->asker == 0);
	LWLockRelease(worker_shared->lock);
	return will;
}

static void
nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS, worker_wait_event());
	ResetLatch(MyLatch);
}

static void
refuse_busy(void)
{
	char		role[NAMEDATALEN];
	int64		run;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	strlcpy(role, worker_shared->requested_by, sizeof(role));
	run = worker_shared->run;
	LWLockRelease(worker_shared->lock);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("another request is being worked on"),
					errdetail("Role \"%s\" asked for it. The last run is " INT64_FORMAT ".", role, run),
					errhint("See pingpong.progress, and try again when it has ended.")));
}

/* ERROR 55006 if another request is being worked on. */
void
request_post(Request *request, const char *kind, const char *target, const char *options)
{
	char	   *role = GetUserNameFromId(GetSessionUserId(), false);
	int64		limit = gate_clock() + DROP_US;

	if (strlen(target) >= PP_NAME_LEN || strlen(options) >= PP_OPTIONS_LEN)
		ereport(ERROR, (errcode(ERRCODE_STRING_DATA_RIGHT_TRUNCATION), errmsg("a name or the options are too long")));
	while (!post_if_idle(request, kind, target, options, role))
	{
		if (!will_be_idle() || gate_clock() > limit)
			refuse_busy();
		nap();
		CHECK_FOR_INTERRUPTS();
	}
	shared_wake_worker();
}

/*
 * We leave without the answer, by an error or because the session ends. What
 * was not begun, or only asks, is dropped; a run goes on without us.
 */
void
request_withdraw(int code, Datum arg)
{
	Request    *request = (Request *) DatumGetPointer(arg);
	bool		dropped = false;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->request == request->number && worker_shared->answered < request->number)
	{
		worker_shared->asker = 0;
		if (worker_shared->kind != REQUEST_NONE)
		{
			worker_shared->answered = request->number;
			worker_shared->kind = REQUEST_NONE;
			worker_shared->busy = false;
		}
		else if (request->only_asks)
			dropped = worker_shared->cancel = true;
	}
	LWLockRelease(worker_shared->lock);
	if (dropped)
		shared_wake_worker();
}

uint64
request_events(void)
{
	uint64		n;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	n = worker_shared->nevents;
	LWLockRelease(worker_shared->lock);
	return n;
}

/* Shows what happened since `seen` as NOTICEs; gives the new position. */
static uint64
show_events(uint64 seen)
{
	for (;;)
	{
		Event		event;

		LWLockAcquire(worker_shared->lock, LW_SHARED);
		if (worker_shared->nevents - seen > PP_EVENTS)
			seen = worker_shared->nevents - PP_EVENTS;
		if (seen == worker_shared->nevents)
		{
			LWLockRelease(worker_shared->lock);
			return seen;
		}
		event = worker_shared->events[seen % PP_EVENTS];
		LWLockRelease(worker_shared->lock);
		seen++;
		ereport(NOTICE, (errmsg_internal("%s", event.text), event.hint[0] ? errhint("%s", event.hint) : 0));
	}
}

/* Has our run ordered the promotion? Then a wish cannot roll it back. */
static bool
is_ordered(const Request *request)
{
	bool		ordered;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	ordered = strcmp(worker_shared->run_state, "asking") == 0;
	for (int i = 0; i < worker_shared->nsteps; i++)
		ordered |= strcmp(worker_shared->steps[i].action, "promote") == 0 &&
			strcmp(worker_shared->steps[i].state, "pending") != 0;
	ordered &= worker_shared->run != request->last_run;
	LWLockRelease(worker_shared->lock);
	return ordered;
}

static void
leave(bool ordered)
{
	if (ordered)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
						errmsg("too late to cancel: the promotion was ordered"),
						errdetail("Run " INT64_FORMAT " goes on without this session.", worker_shared->run),
						errhint("See pingpong.progress, here and on the target.")));
	ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
					errmsg("the worker was asked to roll back, and has not answered yet"),
					errdetail("This session does not wait for it any longer."),
					errhint("What becomes of it is in pingpong.progress and pingpong.run.")));
}

/* The wish to roll back our own request. False: it has its answer, and what is worked on now is another one's. */
static bool
wish_to_cancel(const Request *request)
{
	bool		ours;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	ours = worker_shared->request == request->number && worker_shared->answered < request->number;
	if (ours)
		worker_shared->cancel = true;
	LWLockRelease(worker_shared->lock);
	return ours;
}

/*
 * What only asks is given up at once. Else Ctrl-C, or a time-out, is the wish
 * to roll back, and we stay to see whether it came true: not beyond the time
 * in which it must, nor beyond a second Ctrl-C. A session that is ended leaves
 * at once.
 */
static void
look_at_interrupts(Request *request)
{
	bool		again = request->cancelled != 0;

	if (QueryCancelPending && !ProcDiePending && !request->only_asks)
	{
		QueryCancelPending = false;
		if (again)
			leave(is_ordered(request));
		if (!wish_to_cancel(request))
			return;
		request->cancelled = gate_clock();
		shared_wake_worker();
		ereport(NOTICE, (errmsg("the worker is asked to roll back"),
						 errhint("A second cancel returns at once, without waiting for it.")));
	}
	CHECK_FOR_INTERRUPTS();
	if (!again)
		return;
	if (gate_clock() - request->cancelled > (is_ordered(request) ? BEHIND_US : UNDO_US))
		leave(is_ordered(request));
}

/* Until the request has its answer. False: the worker died and has not answered. */
bool
request_wait(Request *request, uint64 seen, Outcome *outcome, Failure *failure)
{
	int64		alive_at = gate_clock();

	for (;;)
	{
		bool		answered;

		LWLockAcquire(worker_shared->lock, LW_SHARED);
		answered = worker_shared->answered >= request->number;
		if (worker_shared->pid != 0)
			alive_at = gate_clock();
		if (answered)
		{
			*outcome = worker_shared->outcome;
			*failure = worker_shared->failure;
		}
		LWLockRelease(worker_shared->lock);
		seen = show_events(seen);
		if (answered)
			return true;
		if (gate_clock() - alive_at > DEAD_US)
			return false;
		nap();
		look_at_interrupts(request);
	}
}

/* False: this server's worker does not work on that run, or cannot give it up (`ordered`). */
bool
request_cancel(int64 run, bool *ordered)
{
	PGPROC	   *proc = NULL;
	bool		present;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	present = worker_shared->run == run && worker_shared->pid != 0 &&
		(strcmp(worker_shared->run_state, "running") == 0 || strcmp(worker_shared->run_state, "asking") == 0);
	*ordered = present && worker_shared->run_ordered;
	if (present && !*ordered)
	{
		worker_shared->cancel_run = run;
		proc = BackendPidGetProc(worker_shared->pid);
	}
	LWLockRelease(worker_shared->lock);
	if (proc)
		SetLatch(&proc->procLatch);
	return present && !*ordered;
}
