/*
 * installation.c - finds the commonest first mistakes: the module is not loaded, the extension is in another database
 * than the worker, the worker does not run. Each has a message with the remedy, before a session waits for an answer.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"

#include "gate/clock.h"
#include "gate/state.h"
#include "pg_compat.h"
#include "worker/installation.h"
#include "worker/settings.h"
#include "worker/shared.h"

#define START_US	(3 * 1000 * 1000)	/* a server that was just started or promoted has its worker by then */
#define WAIT_MS		50
PG_FUNCTION_INFO_V1(pingpong_check_database);
PG_FUNCTION_INFO_V1(pingpong_check_installation);

static bool
in_worker_database(void)
{
	return get_database_oid(worker_database, true) == MyDatabaseId;
}

/* ERROR 55000 unless the module is loaded and this is the database of its worker. */
void
installation_require_database(void)
{
	char	   *here;

	gate_require_shmem();
	if (in_worker_database())
		return;
	here = get_database_name(MyDatabaseId);
	if (!OidIsValid(get_database_oid(worker_database, true)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("database \"%s\" of the setting \"pingpong.database\" does not exist", worker_database),
				 errdetail("The pg_pingpong worker cannot run. This is database \"%s\".", here),
				 errhint("Set pingpong.database = '%s' in postgresql.conf of all nodes, and restart them.", here)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the pg_pingpong worker does not work in database \"%s\"", here),
			 errdetail("The setting \"pingpong.database\" names database \"%s\": nodes, routes and runs are there.",
					   worker_database),
			 errhint("Connect to database \"%s\", or set pingpong.database = '%s' in postgresql.conf of "
					 "all nodes and restart them.", worker_database, here)));
}

static void
look_at_worker(bool *runs, bool *ready)
{
	LWLockAcquire(worker_shared->lock, LW_SHARED);
	*runs = worker_shared->pid != 0;
	*ready = *runs && worker_shared->ready;
	LWLockRelease(worker_shared->lock);
}

/*
 * ERROR 55000 unless a worker runs that takes requests from here. One that is
 * just starting, or has not seen a new extension yet, is waited for.
 */
void
installation_require_worker(bool of_standby)
{
	int64		limit = gate_clock() + START_US;
	bool		runs;
	bool		ready;

	installation_require_database();
	if (RecoveryInProgress() && !of_standby)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server is a standby"),
				 errhint("Ask the primary.")));
	if (gate_state() == GATE_GUARDED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known yet whether another server has replaced this one as the primary"),
				 errdetail("Since its start: %s.", gate_shared->reason),
				 errhint("See the view pingpong.guard.")));
	for (look_at_worker(&runs, &ready); !ready && gate_clock() < limit; look_at_worker(&runs, &ready))
	{
		shared_wake_worker();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS, worker_wait_event());
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (!runs)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the pg_pingpong worker is not running"),
				 errdetail("It attaches to the database of \"pingpong.database\" (\"%s\").", worker_database),
				 errhint("The server's log tells why; the worker is restarted every second.")));
	if (!ready)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the pg_pingpong worker does not take requests"),
				 errdetail("It has not found the extension in database \"%s\" yet, or is busy with something else.",
						   worker_database),
				 errhint("The server's log tells what it does.")));
}

/* check_database(): what must be called in the worker's database raises its error here. */
Datum
pingpong_check_database(PG_FUNCTION_ARGS)
{
	installation_require_database();
	PG_RETURN_VOID();
}

/*
 * check_installation(): warns of what keeps the extension from working. Only
 * warns, as CREATE EXTENSION calls it, and a dump must be restorable anywhere.
 */
Datum
pingpong_check_installation(PG_FUNCTION_ARGS)
{
	char	   *here = get_database_name(MyDatabaseId);

	if (gate_shared == NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_pingpong is not loaded by this server"),
				 errdetail("It has neither write gate nor worker, and would not enforce a seal."),
				 errhint("Add \"pg_pingpong\" to the setting \"shared_preload_libraries\" and restart the server.")));
	else if (!in_worker_database())
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the pg_pingpong worker does not work in database \"%s\"", here),
				 errdetail("The setting \"pingpong.database\" names database \"%s\".", worker_database),
				 errhint("Create the extension there, or set pingpong.database = '%s' in postgresql.conf of "
						 "all nodes and restart them.", here)));
	PG_RETURN_VOID();
}
