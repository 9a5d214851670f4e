/*
 * sealing.c - changes the state together with the seal file.
 *
 * Sealing keeps the lock from the last look at the proc array until the seal file is on disk, so that nothing can
 * open the gate in between. Lifting a seal removes the file first. What a seal means for the statements that wait at
 * the gate is also here.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "utils/timestamp.h"

#include "gate/drain.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "gate/state.h"
#include "pg_compat.h"

/*
 * At a page boundary GetXLogInsertRecPtr() points after the page header that
 * is not written yet: XLogFlush() fails there, and no standby ever reports it.
 */
XLogRecPtr
gate_insert_end(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		return lsn - SizeOfXLogLongPHD;
	if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		return lsn - SizeOfXLogShortPHD;
	return lsn;
}

/* The lock is held; the gate must still be ours and on its way to a seal. */
static void
check_sealable(void)
{
	GateState	state = gate_raw_state();

	if ((state == GATE_HOLD || state == GATE_SEALING) && gate_is_mine())
		return;
	LWLockRelease(gate_shared->lock);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("cannot seal: this process does not hold the write gate"),
			 errdetail("The state of the gate is \"%s\".", gate_state_name(state)),
			 errhint("A hold opens by itself after \"pingpong.hold_timeout\"; close the gate again.")));
}

static void
fill_seal(GateSeal *seal, const GateSeal *info)
{
	*seal = *info;
	seal->sysid = GetSystemIdentifier();
	seal->tli = GetWALInsertionTimeLine();
	seal->lsn = gate_insert_end();
	seal->at = GetCurrentTimestamp();
}

bool
gate_seal_try(const GateSeal *info, XLogRecPtr *lsn)
{
	GateSeal	seal;

	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		elog(ERROR, "cannot seal in a transaction that has an XID");

	gate_lock_and_settle();
	check_sealable();
	if (gate_raw_state() == GATE_HOLD && gate_drain(DRAIN_LOOK, NULL) > 0)
	{
		LWLockRelease(gate_shared->lock);
		return false;
	}
	gate_set_state(GATE_SEALING);
	if (gate_drain(DRAIN_LOOK, NULL) > 0)
	{
		LWLockRelease(gate_shared->lock);
		return false;
	}

	/* No process commits any more: this is the end of what clients wrote. */
	fill_seal(&seal, info);
	XLogFlush(seal.lsn);
	seal_write(&seal);
	gate_shared->seal = seal;
	gate_set_state(GATE_SEALED);
	LWLockRelease(gate_shared->lock);
	*lsn = seal.lsn;
	return true;
}

void
gate_end_held(void)
{
	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	if (gate_raw_state() == GATE_SEALED)
	{
		pg_atomic_write_u32(&gate_shared->end_held, 1);
		ConditionVariableBroadcast(&gate_shared->changed);
	}
	LWLockRelease(gate_shared->lock);
}

/*
 * Durably gone first, open then: a crash in between finds either the seal, or
 * no seal and no commit after it.
 */
bool
gate_unseal(const char *why)
{
	GateSeal	seal;
	bool		sealed;

	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	sealed = gate_raw_state() == GATE_SEALED;
	if (sealed)
	{
		seal = gate_shared->seal;
		seal_remove(ERROR);
		gate_open_locked(NULL);
	}
	LWLockRelease(gate_shared->lock);
	if (sealed)
		ereport(LOG,
				(errmsg("the seal of run \"%s\" at %X/%X was lifted: %s", seal.run, LSN_FORMAT_ARGS(seal.lsn), why)));
	return sealed;
}

void
gate_remove_void_seal(void)
{
	GateSeal	seal;

	gate_lock_and_settle();
	if (gate_raw_state() == GATE_OPEN && seal_read(&seal) != SEAL_NONE &&
		(seal.sysid != GetSystemIdentifier() || seal.tli < gate_present_timeline()))
	{
		seal_remove(LOG);
		ereport(LOG,
				(errmsg("the seal file of run \"%s\" was removed: it is void on timeline %u", seal.run,
						gate_present_timeline())));
	}
	LWLockRelease(gate_shared->lock);
}
