/*
 * api.c - the SQL functions that talk to the worker. They run in the backend of the caller.
 *
 * A request is checked with the rights of the caller, put into the mailbox (request.c) and waited for. The caller may
 * be cancelled or die at any time: request_withdraw() then asks the worker to roll back, if that is still possible.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "gate/clock.h"
#include "gate/state.h"
#include "worker/installation.h"
#include "worker/request.h"
#include "worker/settings.h"

PG_FUNCTION_INFO_V1(pingpong_request);
PG_FUNCTION_INFO_V1(pingpong_fail);
PG_FUNCTION_INFO_V1(pingpong_progress);
PG_FUNCTION_INFO_V1(pingpong_wake);
PG_FUNCTION_INFO_V1(pingpong_node_name);
PG_FUNCTION_INFO_V1(pingpong_worker_status);
PG_FUNCTION_INFO_V1(pingpong_cancel);

static int
state_from(const char *sqlstate)
{
	return strlen(sqlstate) == 5 ? MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]) :
		ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
}

static Datum
outcome_row(FunctionCallInfo fcinfo, const Outcome *o)
{
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int64GetDatum(o->run);
	nulls[0] = o->run == 0;
	values[1] = CStringGetTextDatum(o->state);
	values[2] = Float8GetDatum(o->blackout_ms);
	nulls[2] = o->blackout_ms < 0;
	values[3] = LSNGetDatum(o->seal_lsn);
	nulls[3] = o->seal_lsn == 0;
	values[4] = CStringGetTextDatum(o->new_primary);
	nulls[4] = o->new_primary[0] == '\0';
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * Has the request checked, with the rights of the caller: pingpong_internal.validate_request()
 * raises what is wrong with it. Gives the options as the worker is to read them.
 */
static char *
validated_options(Datum kind, Datum target, Datum options)
{
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3] = {kind, target, options};
	MemoryContext caller = CurrentMemoryContext;
	char	   *text;

	SPI_connect();
	if (SPI_execute_with_args("SELECT pingpong_internal.validate_request($1, $2, $3)", 3, types, values, NULL, true,
							  1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "the request could not be checked");
	text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	text = text ? MemoryContextStrdup(caller, text) : NULL;
	SPI_finish();
	if (text == NULL)
		elog(ERROR, "the request could not be checked");
	return text;
}

/*
 * request(kind, target, options): hands it to the worker, shows its events,
 * returns its answer or raises it as an error.
 */
Datum
pingpong_request(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *target = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *options;
	Request		request;
	Outcome		outcome;
	Failure		failure;
	uint64		seen;
	volatile bool answered = false;
	ErrorContextCallback *context = error_context_stack;

	error_context_stack = NULL;	/* the lines of our own SQL functions tell the user nothing */
	installation_require_database();
	options = validated_options(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2));
	installation_require_worker(request_is_of_standby(kind));
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("this cannot be done in a transaction that has written"),
						errdetail("The run would wait for the end of its own caller.")));
	seen = request_events();
	request_post(&request, kind, target, options);
	PG_ENSURE_ERROR_CLEANUP(request_withdraw, PointerGetDatum(&request));
	{
		answered = request_wait(&request, seen, &outcome, &failure);
	}
	PG_END_ENSURE_ERROR_CLEANUP(request_withdraw, PointerGetDatum(&request));
	if (!answered)
		ereport(ERROR, (errcode(ERRCODE_CRASH_SHUTDOWN), errmsg("the pg_pingpong worker does not run any more"),
						errhint("What became of the run is in pingpong.run, when the worker is back.")));
	if (failure.sqlstate[0])
		ereport(ERROR, (errcode(state_from(failure.sqlstate)),
						errmsg_internal("%s", failure.message),
						failure.detail[0] ? errdetail_internal("%s", failure.detail) : 0,
						failure.hint[0] ? errhint("%s", failure.hint) : 0));
	error_context_stack = context;
	PG_RETURN_DATUM(outcome_row(fcinfo, &outcome));
}

/*
 * Returns at once; what becomes of the run is in pingpong.progress. Before the point of no return it is rolled back;
 * after it, on the target, steps that are being repeated are given up, and the run ends stuck. ERROR 55000 if
 * it does not run here, or if its promotion was ordered from here.
 */
Datum
pingpong_cancel(PG_FUNCTION_ARGS)
{
	int64		run = PG_GETARG_INT64(0);
	bool		ordered;

	gate_require_shmem();
	if (request_cancel(run, &ordered))
		PG_RETURN_VOID();
	if (ordered)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("run " INT64_FORMAT " cannot be cancelled here any more", run),
				 errdetail("Its promotion was ordered."),
				 errhint("It goes on; see pingpong.progress. After the promotion it can be "
						 "cancelled on its target.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("run " INT64_FORMAT " is not being worked on by this server", run),
			 errhint("See pingpong.progress on the primary; a run whose primary has moved goes on at its target.")));
	PG_RETURN_VOID();
}

static char *
text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * fail(sqlstate, message, detail, hint): an error of our SQL functions, without
 * the lines of context that RAISE would add.
 */
Datum
pingpong_fail(PG_FUNCTION_ARGS)
{
	char	   *sqlstate = text_or_null(fcinfo, 0);
	char	   *message = text_or_null(fcinfo, 1);
	char	   *detail = text_or_null(fcinfo, 2);
	char	   *hint = text_or_null(fcinfo, 3);

	error_context_stack = NULL;
	ereport(ERROR, (errcode(state_from(sqlstate ? sqlstate : "")), errmsg_internal("%s", message ? message : ""),
					detail ? errdetail_internal("%s", detail) : 0, hint ? errhint("%s", hint) : 0));
	PG_RETURN_VOID();
}

/* The steps of the present or last run that this server's worker knows of. */
Datum
pingpong_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerShared *copy;

	gate_require_shmem();
	InitMaterializedSRF(fcinfo, 0);
	copy = palloc(sizeof(WorkerShared));
	LWLockAcquire(worker_shared->lock, LW_SHARED);
	memcpy(copy, worker_shared, sizeof(WorkerShared));
	LWLockRelease(worker_shared->lock);
	for (int i = 0; i < copy->nsteps; i++)
	{
		StepLine   *line = &copy->steps[i];
		Datum		values[11];
		bool		nulls[11] = {false};

		values[0] = Int64GetDatum(copy->run);
		values[1] = CStringGetTextDatum(copy->run_state);
		values[2] = Int32GetDatum(line->ordinal);
		values[3] = CStringGetTextDatum(line->action);
		values[4] = CStringGetTextDatum(line->node);
		values[5] = CStringGetTextDatum(line->state);
		values[6] = TimestampTzGetDatum(line->started);
		nulls[6] = line->started == 0;
		values[7] = Float8GetDatum(line->ms);
		nulls[7] = line->started == 0;
		values[8] = Int32GetDatum(line->attempt);
		values[9] = CStringGetTextDatum(line->message);
		nulls[9] = line->message[0] == '\0';
		values[10] = CStringGetTextDatum(copy->sentence);
		nulls[10] = copy->sentence[0] == '\0';
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* wake(ms): the worker looks every 2 ms for a promotion, for that long. For the agent. */
Datum
pingpong_wake(PG_FUNCTION_ARGS)
{
	int32		ms = PG_GETARG_INT32(0);

	gate_require_shmem();
	if (ms < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the time must not be negative")));
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	worker_shared->awake_until = gate_clock() + ms * INT64CONST(1000);
	LWLockRelease(worker_shared->lock);
	shared_wake_worker();
	PG_RETURN_VOID();
}

Datum
pingpong_node_name(PG_FUNCTION_ARGS)
{
	gate_require_shmem();
	PG_RETURN_TEXT_P(cstring_to_text(worker_self()));
}

/* The worker's pid, or NULL when none is running. */
Datum
pingpong_worker_status(PG_FUNCTION_ARGS)
{
	pid_t		pid;

	gate_require_shmem();
	LWLockAcquire(worker_shared->lock, LW_SHARED);
	pid = worker_shared->pid;
	LWLockRelease(worker_shared->lock);
	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}
