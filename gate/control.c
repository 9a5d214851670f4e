/*
 * control.c - the SQL functions of the gate: quiesce, seal, resume, status.
 *
 * schema/10-gate.sql grants the right to call them. What needs a superuser in addition (touching a seal) is checked
 * here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "gate/clock.h"
#include "gate/closing.h"
#include "gate/drain.h"
#include "gate/guard.h"
#include "gate/peers.h"
#include "gate/refuse.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "gate/state.h"
#include "pg_compat.h"

#define MANUAL_RUN		"manual"
#define CANCEL_LIMIT_MS 5000	/* for a cancelled transaction to be gone */

PG_FUNCTION_INFO_V1(pingpong_quiesce);
PG_FUNCTION_INFO_V1(pingpong_seal);
PG_FUNCTION_INFO_V1(pingpong_resume);
PG_FUNCTION_INFO_V1(pingpong_gate_status);

static void
refuse_in_recovery(const char *function)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot execute %s on a standby", function),
				 errhint("Call it on the primary.")));
}

/* Our own XID would be refused its commit, or drained, by ourselves. */
static void
refuse_with_xid(const char *function)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cannot execute %s in a transaction that has written", function)));
}

/* ---- quiesce ---- */

static GateState
parse_mode(const char *mode)
{
	if (strcmp(mode, "hold") == 0)
		return GATE_HOLD;
	if (strcmp(mode, "read_only") == 0)
		return GATE_READ_ONLY;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid mode of the write gate: \"%s\"", mode),
			 errhint("Valid modes are \"hold\" and \"read_only\".")));
}

/* True if the end of the grace is to reopen the gate, not to cancel. */
static bool
parse_on_grace_end(const char *on_grace_end)
{
	if (strcmp(on_grace_end, "abort") == 0)
		return true;
	if (strcmp(on_grace_end, "cancel") == 0)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for \"on_grace_end\": \"%s\"", on_grace_end),
			 errhint("Valid values are \"cancel\" and \"abort\".")));
}

static void
report_not_drained(void)
{
	GateHolder	holder = {0};
	int			n = gate_drain(DRAIN_LOOK, &holder);

	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("writing transactions did not end within the grace"),
			 n == 0 ? errdetail("They have ended since. The write gate is open again.") :
			 errdetail("%d still run; one is of process %d (%s), state \"%s\". The write gate is open again.",
					   n, holder.pid, holder.application, holder.state)));
}

/* The gate may have opened by itself, or another session has opened it. */
static void
check_still_closed(void)
{
	if (gate_state() == GATE_OPEN || !gate_is_mine())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the write gate was opened while transactions were ending"),
				 errdetail("Another session opened it, or \"pingpong.hold_timeout\" (%d ms) was over.",
						   gate_hold_timeout)));
}

static void
drain_within(int64 grace_ms, bool abort)
{
	int64		grace_end = gate_clock() + grace_ms * 1000;
	int64		limit = grace_end + CANCEL_LIMIT_MS * 1000;

	for (;;)
	{
		int64		now = gate_clock();

		check_still_closed();
		if (gate_drain(now < grace_end || abort ? DRAIN_LOOK : DRAIN_CANCEL, NULL) == 0)
			break;
		if (now >= (abort ? grace_end : limit))
			report_not_drained();
		gate_nap();
	}
	gate_back_to_hold();
}

Datum
pingpong_quiesce(PG_FUNCTION_ARGS)
{
	GateState	mode = parse_mode(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	int64		grace_ms = gate_interval_ms(PG_GETARG_INTERVAL_P(1), "grace");
	bool		abort = parse_on_grace_end(text_to_cstring(PG_GETARG_TEXT_PP(2)));
	XLogRecPtr	lsn;

	gate_require_shmem();
	refuse_in_recovery("pingpong.quiesce()");
	refuse_with_xid("pingpong.quiesce()");

	gate_close(mode, gate_hold_timeout, "quiesce");
	PG_TRY();
	{
		drain_within(grace_ms, abort);
		lsn = gate_insert_end();
		XLogFlush(lsn);
	}
	PG_CATCH();
	{
		if (gate_is_mine())
			gate_open();
		PG_RE_THROW();
	}
	PG_END_TRY();
	PG_RETURN_LSN(lsn);
}

/* ---- seal ---- */

Datum
pingpong_seal(PG_FUNCTION_ARGS)
{
	GateSeal	info = {.run = MANUAL_RUN};
	XLogRecPtr	lsn;

	gate_require_shmem();
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to seal the server")));
	refuse_in_recovery("pingpong.seal()");
	refuse_with_xid("pingpong.seal()");

	while (!gate_seal_try(&info, &lsn))
		gate_nap();
	ereport(LOG,
			(errmsg("this server is sealed at %X/%X by hand", LSN_FORMAT_ARGS(lsn))));
	PG_RETURN_LSN(lsn);
}

/* ---- resume ---- */

/* Sealed, but not by hand: what an operator has to find out before the seal may go. */
static void
refuse_to_unseal(const GateSeal *seal)
{
	if (strcmp(seal->run, SEAL_BY_GUARD) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server is sealed: another one has replaced it as the primary"),
				 errdetail("When this server was started, %s.", seal->why),
				 errhint("On the new primary, SELECT pingpong.rebuild('%s') makes this server a standby. If that one "
						 "can never take a write again: SELECT pingpong.resume(risk => '%s').", peers_self(NULL),
						 GATE_RISK)));
	if (seal->target[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this server is sealed by run \"%s\"", seal->run),
				 errdetail("The seal file cannot be read: which run sealed it, and where the primary "
						   "was moved, is not known."),
				 errhint("Make sure that no other server is, or may yet become, the primary. Then: "
						 "SELECT pingpong.resume(risk => '%s').", GATE_RISK)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("this server is sealed by run \"%s\", which moves the primary to node \"%s\"",
					seal->run, seal->target),
			 errdetail("The target may have been promoted, or may yet be."),
			 errhint("Ask the agent of node \"%s\" for the verdict of the run first. If it can never be promoted: "
					 "SELECT pingpong.resume(risk => '%s').", seal->target, GATE_RISK)));
}

static void
resume_sealed(const GateSeal *seal, const char *risk)
{
	bool		manual = strcmp(seal->run, MANUAL_RUN) == 0;

	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to remove a seal")));
	if (!manual && (risk == NULL || strcmp(risk, GATE_RISK) != 0))
		refuse_to_unseal(seal);
	if (gate_unseal(psprintf("by hand, by \"%s\" (process %d, application \"%s\")",
							 GetUserNameFromId(GetSessionUserId(), false), MyProcPid, application_name)) && !manual)
		ereport(WARNING,
				(errmsg("the seal of run \"%s\" was removed by hand", seal->run)));
}

/* Nobody has said yet that this server was not replaced. */
static void
resume_guarded(const char *risk)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be superuser to open a guarded server")));
	if (risk == NULL || strcmp(risk, GATE_RISK) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known yet whether another server has replaced this one as the primary"),
				 errdetail("Since its start: %s.", gate_shared->reason),
				 errhint("Make sure that no other server is, or may yet become, the primary. Then: "
						 "SELECT pingpong.resume(risk => '%s').", GATE_RISK)));
	if (gate_guard_open(psprintf("by hand, by \"%s\" (process %d, application \"%s\")",
								 GetUserNameFromId(GetSessionUserId(), false), MyProcPid, application_name)))
		ereport(WARNING,
				(errmsg("the guarded server was opened by hand")));
}

Datum
pingpong_resume(PG_FUNCTION_ARGS)
{
	GateSeal	seal;

	gate_require_shmem();
	refuse_in_recovery("pingpong.resume()");
	if (gate_get_seal(&seal))
		resume_sealed(&seal, PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	else if (gate_state() == GATE_GUARDED)
		resume_guarded(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	else if (!gate_open())
		ereport(NOTICE, (errmsg("the write gate is open already")));
	PG_RETURN_VOID();
}

/* ---- status ---- */

#define STATUS_COLUMNS 11

static void
put_closed(Datum *values, bool *nulls, const GateShared *gate, GateState state)
{
	values[1] = TimestampTzGetDatum(gate->since);
	nulls[1] = false;
	nulls[2] = nulls[3] = gate->owner_pid == 0;
	values[2] = Int32GetDatum(gate->owner_pid);
	values[3] = CStringGetTextDatum(gate->owner_name);
	values[4] = CStringGetTextDatum(gate->reason);
	nulls[4] = false;
	if (state == GATE_SEALED)
	{
		values[7] = LSNGetDatum(gate->seal.lsn);
		values[8] = CStringGetTextDatum(gate->seal.run);
		values[9] = Int64GetDatum(gate->seal.epoch);
		values[10] = CStringGetTextDatum(gate->seal.target);
		nulls[7] = nulls[8] = nulls[9] = nulls[10] = false;
	}
	else if (state != GATE_GUARDED)
	{
		values[6] = TimestampTzGetDatum(GetCurrentTimestamp() + (gate->deadline - gate_clock()));
		nulls[6] = false;
	}
}

Datum
pingpong_gate_status(PG_FUNCTION_ARGS)
{
	Datum		values[STATUS_COLUMNS] = {0};
	bool		nulls[STATUS_COLUMNS];
	TupleDesc	desc;
	GateState	state;
	GateShared	copy;

	gate_require_shmem();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	(void) gate_state();		/* let it open by itself first */
	LWLockAcquire(gate_shared->lock, LW_SHARED);
	copy = *gate_shared;
	LWLockRelease(gate_shared->lock);
	state = RecoveryInProgress() ? GATE_OPEN : (GateState) pg_atomic_read_u32(&copy.state);

	memset(nulls, true, sizeof(nulls));
	values[0] = CStringGetTextDatum(gate_state_name(state));
	values[5] = Int32GetDatum(gate_held_count());
	nulls[0] = nulls[5] = false;
	if (state != GATE_OPEN)
		put_closed(values, nulls, &copy, state);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
