/*
 * api_cancel.c - pingpong.cancel(run): an operator gives up a run that nobody waits for any more.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "gate/gate.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(pingpong_cancel);

/* False: this server's worker does not work on that run, or cannot give it up (`ordered`). */
static bool
post_cancel(int64 run, bool *ordered)
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

/*
 * Returns at once; what becomes of the run is in pingpong.progress. Before the point of no return it is rolled back;
 * behind it, on the target, steps that are tried again and again are given up, and the run ends stuck. ERROR 55000 if
 * it does not run here, or if its promotion was ordered from here.
 */
Datum
pingpong_cancel(PG_FUNCTION_ARGS)
{
	int64		run = PG_GETARG_INT64(0);
	bool		ordered;

	gate_require_shmem();
	if (post_cancel(run, &ordered))
		PG_RETURN_VOID();
	if (ordered)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " cannot be cancelled here any more", run),
				 errdetail("Its promotion was ordered."),
				 errhint("It goes on; see pingpong.progress. Behind the promotion it can be cancelled on its target.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("run " INT64_FORMAT " is not being worked on by this server", run),
			 errhint("See pingpong.progress on the primary; a run whose primary has moved goes on at its target.")));
	PG_RETURN_VOID();
}
