/*
 * appliers.c - logical replication workers (apply, parallel apply, table synchronization) do not run while the gate
 * is closed.
 *
 * They call PostgreSQL's functions directly. Rows come in without an executor, so a hold does not stop them. COMMIT
 * PREPARED and ROLLBACK PREPARED of a two-phase subscription write their records without any hook. So each worker
 * registers itself here, the process that closes or drains the gate ends the registered workers, and a seal waits
 * until none is left. Nothing that the publisher sent is lost: it was not acknowledged, and the publisher sends it
 * again.
 *
 * Why none slips through: a worker registers and then reads the state, at the end of each of its transactions. The
 * first of them is the one that connects it to its database, before it has read its subscription, let alone reached
 * the publisher. The process that closes the gate writes the state and then looks at the register. With a full
 * barrier between the two on both sides, one sees the other. Either the worker reads that the gate is closed, and
 * ends before it could apply anything, or it is found in the register, where it stays until its process ends. (A
 * worker that read "open" and then applies a whole transaction is also found and waited for.)
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "replication/origin.h"
#include "storage/ipc.h"

#include "gate/appliers.h"
#include "gate/state.h"
#include "pg_compat.h"

static void
unregister(int code, Datum place)
{
	pg_atomic_write_u32(&gate_shared->appliers[DatumGetInt32(place)], 0);
}

/* The last thing to go: what an aborting transaction still writes is waited for. */
static void
register_once(void)
{
	static bool registered = false;

	for (int i = 0; i < gate_appliers_max() && !registered; i++)
	{
		uint32		nobody = 0;

		registered = pg_atomic_compare_exchange_u32(&gate_shared->appliers[i], &nobody, (uint32) MyProcPid);
		if (registered)
			on_shmem_exit(unregister, Int32GetDatum(i));
	}
	if (!registered)
		elog(FATAL, "no room to register a logical replication worker");
}

void
gate_applier_commits(void)
{
	GateState	state;

	if (!IsLogicalWorker())
		return;
	register_once();
	pg_memory_barrier();
	if (likely(pg_atomic_read_u32(&gate_shared->state) == GATE_OPEN) || (state = gate_state()) == GATE_OPEN)
		return;

	/*
	 * FATAL, not ERROR: a subscription with disable_on_error would be switched
	 * off. And the abort must not move the origin past this transaction, as
	 * some releases do, since it would never be sent again.
	 */
	replorigin_session_origin = InvalidRepOriginId;
	replorigin_session_origin_lsn = InvalidXLogRecPtr;
	replorigin_session_origin_timestamp = 0;
	ereport(FATAL,
			(errcode(ERRCODE_ADMIN_SHUTDOWN),
			 errmsg("terminating logical replication worker: the write gate is closed"),
			 errdetail("The state of the gate is \"%s\".", gate_state_name(state)),
			 errhint("It is started again every \"wal_retrieve_retry_interval\", and goes "
					 "on when the gate is open.")));
}

/* The pid of one that is left, 0 if there is none; *n: how many. */
int
gate_appliers(int *n)
{
	int			pid = 0;

	*n = 0;
	for (int i = 0; i < gate_appliers_max(); i++)
	{
		uint32		applier = pg_atomic_read_u32(&gate_shared->appliers[i]);

		if (applier == 0)
			continue;
		pid = (int) applier;
		(*n)++;
	}
	return pid;
}

void
gate_end_appliers(void)
{
	for (int i = 0; i < gate_appliers_max(); i++)
	{
		uint32		applier = pg_atomic_read_u32(&gate_shared->appliers[i]);

		if (applier != 0 && kill((pid_t) applier, SIGTERM) != 0)
			elog(DEBUG1, "could not signal process %u: %m", applier);
	}
}
