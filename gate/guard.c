/*
 * guard.c - from guarded to open, or to sealed.
 *
 * While guarded nothing with an XID commits, so there is nothing to drain before the seal.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "utils/timestamp.h"

#include "gate/guard.h"
#include "gate/peers.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "gate/state.h"
#include "pg_compat.h"

void
gate_guard_say(const char *reason)
{
	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	if (gate_raw_state() == GATE_GUARDED)
		strlcpy(gate_shared->reason, reason, GATE_REASON_LEN);
	LWLockRelease(gate_shared->lock);
}

bool
gate_guard_open(const char *why)
{
	bool		opened;

	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	opened = gate_raw_state() == GATE_GUARDED;
	if (opened)
		gate_open_locked(NULL);
	LWLockRelease(gate_shared->lock);
	if (opened)
		ereport(LOG,
				(errmsg("the write gate is open: %s", why)));
	return opened;
}

/*
 * Nothing that a client wrote lies beyond the end of WAL that the server found when it was started: since then it has
 * only done its own housekeeping. A rebuild goes by that to tell whether this node has more than the new primary.
 */
static XLogRecPtr
end_of_writes(void)
{
	XLogRecPtr	replayed = GetXLogReplayRecPtr(NULL);

	if (gate_shared->started_at != InvalidXLogRecPtr)
		return gate_shared->started_at;
	return replayed != InvalidXLogRecPtr ? replayed : gate_insert_end();
}

bool
gate_guard_seal(const GateSeal *info)
{
	GateSeal	seal = *info;
	bool		guarded;

	seal.sysid = GetSystemIdentifier();
	seal.tli = GetWALInsertionTimeLine();
	seal.at = GetCurrentTimestamp();
	strlcpy(seal.run, SEAL_BY_GUARD, sizeof(seal.run));
	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	guarded = gate_raw_state() == GATE_GUARDED;
	if (guarded)
	{
		seal.lsn = end_of_writes();
		seal_write(&seal);
		gate_shared->seal = seal;
		strlcpy(gate_shared->reason, seal.why, GATE_REASON_LEN);
		gate_set_state(GATE_SEALED);
	}
	LWLockRelease(gate_shared->lock);
	if (!guarded)
		return false;
	gate_end_held();
	ereport(LOG,
			(errmsg("this server is sealed at %X/%X: another one has replaced it as the primary",
					LSN_FORMAT_ARGS(seal.lsn)),
			 errdetail("When this server was started, %s.", seal.why),
			 errhint("On the new primary, pingpong.rebuild('%s') makes this server a standby.", peers_self(NULL))));
	return true;
}

bool
gate_is_replaced(void)
{
	GateSeal	seal;

	return gate_get_seal(&seal) && strcmp(seal.run, SEAL_BY_GUARD) == 0;
}
