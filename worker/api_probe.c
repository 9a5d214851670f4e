/*
 * api_probe.c - pingpong_internal.probe(run, version): puts the question to the worker (probe.c), and waits for its
 * answer.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"

#include "gate/state.h"
#include "pg_compat.h"
#include "worker/clock.h"
#include "worker/settings.h"
#include "worker/shared.h"

#define WAIT_MS			20
#define LIMIT_US		(9 * 1000 * 1000)	/* of the asking backend; more than REPLAY_US and PING_MS */
PG_FUNCTION_INFO_V1(pingpong_probe);

/* Puts the question; 0: another one is being asked. */
static uint64
put_question(const char *run, const char *version)
{
	uint64		asked = 0;
	PGPROC	   *proc;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->probe.asker == 0 || worker_shared->probe.asker == MyProcPid ||
		BackendPidGetProc(worker_shared->probe.asker) == NULL)
	{
		asked = ++worker_shared->probe.asked;
		worker_shared->probe.asker = MyProcPid;
		strlcpy(worker_shared->probe.run, run, sizeof(worker_shared->probe.run));
		strlcpy(worker_shared->probe.version, version, sizeof(worker_shared->probe.version));
	}
	proc = worker_shared->pid ? BackendPidGetProc(worker_shared->pid) : NULL;
	LWLockRelease(worker_shared->lock);
	if (asked && proc)
		SetLatch(&proc->procLatch);
	return asked;
}

static bool
take_answer(uint64 asked, char *problem, size_t size)
{
	bool		answered;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	answered = worker_shared->probe.answered >= asked;
	if (answered)
	{
		strlcpy(problem, worker_shared->probe.problem, size);
		worker_shared->probe.asker = 0;
	}
	LWLockRelease(worker_shared->lock);
	return answered;
}

static bool
worker_runs(void)
{
	bool		runs;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	runs = worker_shared->pid != 0;
	LWLockRelease(worker_shared->lock);
	return runs;
}

static void
nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS, worker_wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Gives up the question, if it is still ours: others may ask then. */
static void
leave(void)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->probe.asker == MyProcPid)
		worker_shared->probe.asker = 0;
	LWLockRelease(worker_shared->lock);
}

/* Waits for the answer; "": nothing stands against it. */
static void
wait_answer(const char *run, const char *version, char *problem, size_t size)
{
	int64		limit = now_us() + LIMIT_US;
	uint64		asked = 0;

	strlcpy(problem, "its worker does not answer", size);
	while (now_us() < limit)
	{
		if (asked == 0)
			asked = put_question(run, version);
		if (asked != 0 && take_answer(asked, problem, size))
			return;
		if (!worker_runs())
			strlcpy(problem, "its worker does not run", size);
		nap();
	}
}

/* probe(run, version): null, or what stands against this server's worker taking the run over. */
Datum
pingpong_probe(PG_FUNCTION_ARGS)
{
	char	   *run = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *version = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char		problem[PP_TEXT_LEN];

	gate_require_shmem();
	PG_TRY();
	{
		wait_answer(run, version, problem, sizeof(problem));
	}
	PG_FINALLY();
	{
		leave();
	}
	PG_END_TRY();
	if (problem[0] == '\0')
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
