/*
 * shared.c - the shared memory of worker and backends, and waking the one or the other.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"

#include "worker/shared.h"

WorkerShared *worker_shared;

void
worker_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(WorkerShared)));
	RequestNamedLWLockTranche("pg_pingpong worker", 1);
}

/* From the shared memory start-up hook, also after a crash restart. */
void
worker_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	worker_shared = ShmemInitStruct("pg_pingpong worker", sizeof(WorkerShared), &found);
	if (!found)
	{
		memset(worker_shared, 0, sizeof(WorkerShared));
		worker_shared->lock = &GetNamedLWLockTranche("pg_pingpong worker")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

void
shared_wake(pid_t pid)
{
	PGPROC	   *proc = pid == 0 ? NULL : BackendPidGetProc(pid);

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

void
shared_wake_worker(void)
{
	PGPROC	   *proc;
	pid_t		pid;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	pid = worker_shared->pid;
	LWLockRelease(worker_shared->lock);
	proc = pid ? BackendPidGetProc(pid) : NULL;
	if (proc != NULL)
		SetLatch(&proc->procLatch);
}
