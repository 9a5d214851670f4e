/*
 * api.c - the SQL functions that talk to the worker.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "gate/gate.h"
#include "pg_compat.h"
#include "worker/run.h"

PG_FUNCTION_INFO_V1(pingpong_request);
PG_FUNCTION_INFO_V1(pingpong_fail);
PG_FUNCTION_INFO_V1(pingpong_progress);
PG_FUNCTION_INFO_V1(pingpong_wake);
PG_FUNCTION_INFO_V1(pingpong_node_name);
PG_FUNCTION_INFO_V1(pingpong_worker_status);

#define WAIT_MS		100
#define DROP_US		(3 * 1000 * 1000)	/* for a request to be dropped that nobody waits for */
#define DEAD_US		(5 * 1000 * 1000)	/* for a worker that died to be back */
#define UNDO_US		(15 * 1000 * 1000)	/* for a run to be rolled back */
#define BEHIND_US	(5 * 1000 * 1000)	/* for one that cannot be rolled back any more to succeed */

/* A request of ours, while we wait for its answer. */
typedef struct Request
{
	uint64		number;
	bool		only_asks;		/* changes nothing: dropped when we leave */
	int64		last_run;		/* when it was posted: the number of its own run is another one */
	int64		cancelled;		/* gate_clock() when we were told to give up; 0: not */
} Request;

static RequestKind
request_kind(const char *name)
{
	if (strcmp(name, "facts") == 0)
		return REQUEST_FACTS;
	return strcmp(name, "switchover") == 0 ? REQUEST_SWITCHOVER : REQUEST_RUN;
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
		request->only_asks = worker_shared->kind == REQUEST_FACTS;
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
static void
post_request(Request *request, const char *kind, const char *target, const char *options)
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
	place_wake_worker();
}

/*
 * We leave without the answer, by an error or because the session ends. What
 * was not begun, or only asks, is dropped; a run goes on without us.
 */
static void
withdraw(int code, Datum arg)
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
		place_wake_worker();
}

static uint64
events_so_far(void)
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
		ereport(NOTICE, (errmsg_internal("%s", event.text)));
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
		ordered |= strcmp(worker_shared->steps[i].action, "promote") == 0 && strcmp(worker_shared->steps[i].state, "pending") != 0;
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
		place_wake_worker();
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
static bool
wait_answer(Request *request, uint64 seen, Outcome *outcome, Verdict *verdict)
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
			*verdict = worker_shared->verdict;
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
 * Has the request checked, with the rights of who asks: pingpong.validate_request()
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
	if (SPI_execute_with_args("SELECT pingpong.validate_request($1, $2, $3)", 3, types, values, NULL, true, 1) != SPI_OK_SELECT ||
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
	Verdict		verdict;
	uint64		seen;
	volatile bool answered = false;
	ErrorContextCallback *context = error_context_stack;

	error_context_stack = NULL;	/* the lines of our own SQL functions tell the user nothing */
	place_require_database();
	options = validated_options(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2));
	place_require_worker();
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("this cannot be done in a transaction that has written"),
						errdetail("The run would wait for the end of its own caller.")));
	seen = events_so_far();
	post_request(&request, kind, target, options);
	PG_ENSURE_ERROR_CLEANUP(withdraw, PointerGetDatum(&request));
	{
		answered = wait_answer(&request, seen, &outcome, &verdict);
	}
	PG_END_ENSURE_ERROR_CLEANUP(withdraw, PointerGetDatum(&request));
	if (!answered)
		ereport(ERROR, (errcode(ERRCODE_CRASH_SHUTDOWN), errmsg("the pg_pingpong worker does not run any more"),
						errhint("What became of the run is in pingpong.run, when the worker is back.")));
	if (verdict.sqlstate[0])
		ereport(ERROR, (errcode(state_from(verdict.sqlstate)),
						errmsg_internal("%s", verdict.message),
						verdict.detail[0] ? errdetail_internal("%s", verdict.detail) : 0,
						verdict.hint[0] ? errhint("%s", verdict.hint) : 0));
	error_context_stack = context;
	PG_RETURN_DATUM(outcome_row(fcinfo, &outcome));
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
	place_wake_worker();
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
