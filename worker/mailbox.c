/*
 * mailbox.c - the worker's end of the mailbox: one request at a time, a ring of events while it is worked on, one
 * answer.
 *
 * The asking backend may die at any moment, so nothing here waits for it. If the worker dies, the next one finds
 * `busy` and answers that the worker was restarted. The run itself goes on from the journal.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "common/sqlstate.h"
#include "gate/clock.h"
#include "worker/mailbox.h"

/* The worker begins: a request that its predecessor left gets an answer. */
void
mailbox_attach(void)
{
	bool		left_over;
	Failure		v;
	Outcome		none;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	left_over = worker_shared->busy;
	worker_shared->pid = MyProcPid;
	worker_shared->ready = false;
	LWLockRelease(worker_shared->lock);
	if (!left_over)
		return;
	memset(&none, 0, sizeof(none));
	failure_set(&v, STATE_CRASH_SHUTDOWN, "the pg_pingpong worker was restarted while it worked on the request");
	strlcpy(v.hint, "A run that had begun is in pingpong.run; the worker goes on with it or undoes it.",
			sizeof(v.hint));
	mailbox_answer(&none, &v, true);
}

/* The extension is there: requests are taken from now on. Or it is no more. */
void
mailbox_ready(bool ready)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	worker_shared->ready = ready;
	LWLockRelease(worker_shared->lock);
}

/* before_shmem_exit: only if the pid is still ours. */
void
mailbox_detach(int code, Datum arg)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->pid == MyProcPid)
		worker_shared->pid = 0;
	shared_wake(worker_shared->asker);
	LWLockRelease(worker_shared->lock);
}

/* A request that is not being worked on yet; false if there is none. */
bool
mailbox_take(RequestKind *kind, char *target, char *options, char *requested_by)
{
	bool		there;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	there = worker_shared->busy && worker_shared->kind != REQUEST_NONE;
	if (there)
	{
		*kind = worker_shared->kind;
		strlcpy(target, worker_shared->target, PP_NAME_LEN);
		strlcpy(options, worker_shared->options, PP_OPTIONS_LEN);
		strlcpy(requested_by, worker_shared->requested_by, NAMEDATALEN);
		worker_shared->kind = REQUEST_NONE;
	}
	LWLockRelease(worker_shared->lock);
	return there;
}

bool
mailbox_cancelled(void)
{
	bool		cancel;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	cancel = worker_shared->busy && worker_shared->cancel;
	LWLockRelease(worker_shared->lock);
	return cancel;
}

/* Whether a superuser has put the present request. */
bool
mailbox_of_superuser(void)
{
	bool		super;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	super = worker_shared->superuser;
	LWLockRelease(worker_shared->lock);
	return super;
}

/* Whether pingpong.cancel() was called for that run. */
bool
mailbox_cancel_wanted(int64 run)
{
	bool		cancel;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	cancel = run != 0 && worker_shared->cancel_run == run;
	LWLockRelease(worker_shared->lock);
	return cancel;
}

void
mailbox_forget_cancel(int64 run)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->cancel_run == run)
		worker_shared->cancel_run = 0;
	LWLockRelease(worker_shared->lock);
}

/* The next request may come. */
static void
make_room(void)
{
	worker_shared->busy = false;
	worker_shared->cancel = false;
	worker_shared->kind = REQUEST_NONE;
	worker_shared->asker = 0;
}

/*
 * Together with the end of the request: a caller that asks again at once must not meet its own old request.
 */
void
mailbox_answer(const Outcome *outcome, const Failure *failure, bool over)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->answered < worker_shared->request)
	{
		worker_shared->answered = worker_shared->request;
		worker_shared->outcome = *outcome;
		worker_shared->failure = *failure;
		shared_wake(worker_shared->asker);
		if (over)
			make_room();
	}
	LWLockRelease(worker_shared->lock);
}

/* A request that came during a run which no session had asked for stays. */
void
mailbox_finish(void)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->answered >= worker_shared->request)
		make_room();
	LWLockRelease(worker_shared->lock);
}

/* Something that the asking backend shows as a NOTICE. */
static void
add_event(const char *text, const char *hint)
{
	Event	   *event;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	event = &worker_shared->events[worker_shared->nevents % PP_EVENTS];
	event->at = GetCurrentTimestamp();
	strlcpy(event->text, text, sizeof(event->text));
	strlcpy(event->hint, hint, sizeof(event->hint));
	worker_shared->nevents++;
	shared_wake(worker_shared->asker);
	LWLockRelease(worker_shared->lock);
}

void
mailbox_event(const char *fmt,...)
{
	va_list		args;
	char		text[sizeof(((Event *) 0)->text)];

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	add_event(text, "");
}

void
mailbox_event_hint(const char *text, const char *fmt,...)
{
	va_list		args;
	char		hint[sizeof(((Event *) 0)->hint)];

	va_start(args, fmt);
	vsnprintf(hint, sizeof(hint), fmt, args);
	va_end(args);
	add_event(text, hint);
}

/* Whether somebody announced that a promotion may come soon. */
bool
mailbox_awake(void)
{
	int64		until;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	until = worker_shared->awake_until;
	LWLockRelease(worker_shared->lock);
	return gate_clock() < until;
}

/* The backend that waits for the present request; 0: none. */
pid_t
mailbox_asker(void)
{
	pid_t		asker;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	asker = worker_shared->asker;
	LWLockRelease(worker_shared->lock);
	return asker;
}
