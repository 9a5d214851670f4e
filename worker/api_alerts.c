/*
 * api_alerts.c - pingpong_internal.alerts_evaluated_at(): how old what the view pingpong.alerts shows is.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#include "gate/state.h"
#include "worker/shared.h"

PG_FUNCTION_INFO_V1(pingpong_alerts_evaluated_at);

/* NULL: not since the server was started. */
Datum
pingpong_alerts_evaluated_at(PG_FUNCTION_ARGS)
{
	TimestampTz at;

	gate_require_shmem();
	LWLockAcquire(worker_shared->lock, LW_SHARED);
	at = worker_shared->alerts_at;
	LWLockRelease(worker_shared->lock);
	if (at == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}
