/*
 * state.c - the state of the write gate, in shared memory.
 *
 * Only gate_set_state() changes the state, under the lock. A hold ends by itself when its owner is gone or its time
 * is up. Every process that meets the closed gate checks that, so no other process has to be alive for it.
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_control.h"
#include "common/controldata_utils.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#include "gate/clock.h"
#include "gate/peers.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "pg_compat.h"

#define GATE_TRANCHE "pg_pingpong_gate"

GateShared *gate_shared = NULL;

static const char *const state_names[] = {
	"open", "hold", "read_only", "guarded", "sealing", "sealed"
};

/* ---- start-up ---- */

/* All background workers there can be, so that it is never full. */
int
gate_appliers_max(void)
{
	return max_worker_processes;
}

static Size
shared_size(void)
{
	return offsetof(GateShared, appliers) + gate_appliers_max() * sizeof(pg_atomic_uint32);
}

void
gate_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(shared_size()));
	RequestNamedLWLockTranche(GATE_TRANCHE, 1);
}

/* A seal on disk is in force from the first moment of the server. */
static void
load_seal(void)
{
	switch (seal_read(&gate_shared->seal))
	{
		case SEAL_NONE:
			return;
		case SEAL_VOID:
			ereport(LOG,
					(errmsg("the seal of run \"%s\" is void on this timeline", gate_shared->seal.run)));
			return;
		case SEAL_BROKEN:
			ereport(WARNING,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the seal file cannot be read; the server starts sealed"),
					 errdetail("Whether a run has moved the primary away is not known."),
					 errhint("See pingpong.resume() for the way out.")));
			break;
		case SEAL_VALID:
			ereport(LOG,
					(errmsg("this server is sealed at %X/%X by run \"%s\": no transaction can commit",
							LSN_FORMAT_ARGS(gate_shared->seal.lsn), gate_shared->seal.run)));
			break;
	}
	gate_shared->since = gate_shared->seal.at;
	strlcpy(gate_shared->reason, "seal found at start-up", GATE_REASON_LEN);
	/* no run lifts that one: there is nothing to wait for */
	if (strcmp(gate_shared->seal.run, SEAL_BY_GUARD) == 0)
		pg_atomic_write_u32(&gate_shared->end_held, 1);
	gate_set_state(GATE_SEALED);
}

/* A server that begins in recovery and is promoted later is not guarded: the promotion was somebody's order. */
static bool
starts_as_primary(void)
{
	struct stat st;

	return stat("standby.signal", &st) != 0 && stat("recovery.signal", &st) != 0;
}

static XLogRecPtr
end_of_clean_stop(void)
{
	bool		crc_ok;
	ControlFileData *control = get_controlfile(DataDir, &crc_ok);
	XLogRecPtr	lsn = crc_ok && control->state == DB_SHUTDOWNED ? control->checkPoint : InvalidXLogRecPtr;

	pfree(control);
	return lsn;
}

/*
 * A primary with peers begins guarded, also after a crash of one of its processes: an operator may have promoted a
 * standby while it recovered. Not in single-user mode, where no client is and nobody could ask.
 */
static void
load_guard(void)
{
	PeersFile  *file = palloc(sizeof(PeersFile));
	PeersFound	found = peers_read(file);

	if (IsPostmasterEnvironment && starts_as_primary() &&
		(found == PEERS_BROKEN || (found == PEERS_VALID && peers_others(file) > 0)))
	{
		if (found == PEERS_BROKEN)
			ereport(WARNING,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("the file \"%s\" cannot be read; the server starts guarded", PEERS_FILE),
					 errhint("See pingpong.resume() for the way out.")));
		else
			ereport(LOG,
					(errmsg("writes wait until the agents of the other nodes have said that nobody has replaced this "
							"server as the primary")));
		gate_shared->started_at = end_of_clean_stop();
		gate_shared->since = GetCurrentTimestamp();
		strlcpy(gate_shared->reason, "its worker has not asked the agents of the other nodes yet", GATE_REASON_LEN);
		gate_set_state(GATE_GUARDED);
	}
	pfree(file);
}

void
gate_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	gate_shared = ShmemInitStruct("pg_pingpong gate", shared_size(), &found);
	if (!found)
	{
		memset(gate_shared, 0, shared_size());
		gate_shared->lock = &GetNamedLWLockTranche(GATE_TRANCHE)->lock;
		pg_atomic_init_u32(&gate_shared->state, GATE_OPEN);
		pg_atomic_init_u32(&gate_shared->held, 0);
		pg_atomic_init_u32(&gate_shared->end_held, 0);
		for (int i = 0; i < gate_appliers_max(); i++)
			pg_atomic_init_u32(&gate_shared->appliers[i], 0);
		ConditionVariableInit(&gate_shared->changed);
		load_seal();
		if (gate_raw_state() == GATE_OPEN)
			load_guard();
	}
	LWLockRelease(AddinShmemInitLock);
}

void
gate_require_shmem(void)
{
	if (gate_shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_pingpong must be loaded with shared_preload_libraries"),
				 errhint("Add \"pg_pingpong\" to the setting \"shared_preload_libraries\" and restart the server.")));
}

/* ---- state ---- */

GateState
gate_raw_state(void)
{
	return (GateState) pg_atomic_read_u32(&gate_shared->state);
}

const char *
gate_state_name(GateState state)
{
	return state_names[state];
}

/*
 * The exchange is a full barrier: the sealer writes the state and then looks
 * for XIDs, a backend takes its XID and then reads the state.
 */
void
gate_set_state(GateState state)
{
	pg_atomic_exchange_u32(&gate_shared->state, state);
}

static bool
owner_is_gone(void)
{
	return gate_shared->owner_pid == 0 ||
		ProcGlobal->allProcs[gate_shared->owner_slot].pid != gate_shared->owner_pid;
}

bool
gate_is_mine(void)
{
	return gate_raw_state() != GATE_OPEN && gate_shared->owner_pid == MyProcPid;
}

TimeLineID
gate_present_timeline(void)
{
	TimeLineID	tli;

	if (!RecoveryInProgress())
		return GetWALInsertionTimeLine();
	(void) GetXLogReplayRecPtr(&tli);
	return tli;
}

/* Why the closed gate no longer counts, or NULL. */
static const char *
reason_to_open(GateState state)
{
	if (state == GATE_OPEN || state == GATE_GUARDED)
		return NULL;
	if (state == GATE_SEALED)
	{
		if (gate_shared->seal.tli < gate_present_timeline())
			return "the seal is void on this timeline";
		return NULL;
	}
	if (owner_is_gone())
		return "its owner is gone";
	if (gate_clock() >= gate_shared->deadline)
		return "its time is up";
	return NULL;
}

/*
 * Open; the lock is held. A seal file cannot be there: it is written under
 * the same hold of the lock that ends in GATE_SEALED.
 */
void
gate_open_locked(const char *why)
{
	if (why)
		ereport(LOG,
				(errmsg("the write gate opens by itself: %s", why),
				 errdetail("It was in state \"%s\" for \"%s\".",
						   gate_state_name(gate_raw_state()), gate_shared->reason)));
	gate_shared->owner_pid = 0;
	gate_shared->owner_name[0] = '\0';
	gate_shared->reason[0] = '\0';
	pg_atomic_write_u32(&gate_shared->end_held, 0);
	gate_set_state(GATE_OPEN);
	ConditionVariableBroadcast(&gate_shared->changed);
}

/* Take the lock, and open a gate that no longer counts as closed. */
void
gate_lock_and_settle(void)
{
	const char *why;

	LWLockAcquire(gate_shared->lock, LW_EXCLUSIVE);
	why = reason_to_open(gate_raw_state());
	if (why)
		gate_open_locked(why);
}

GateState
gate_state(void)
{
	if (gate_shared == NULL || gate_raw_state() == GATE_OPEN || RecoveryInProgress())
		return GATE_OPEN;

	/* Read without the lock: a wrong guess is put right under it. */
	if (reason_to_open(gate_raw_state()) != NULL)
	{
		gate_lock_and_settle();
		LWLockRelease(gate_shared->lock);
	}
	return gate_raw_state();
}

int
gate_held_count(void)
{
	return (int) pg_atomic_read_u32(&gate_shared->held);
}

bool
gate_get_seal(GateSeal *out)
{
	bool		sealed = false;

	if (gate_state() != GATE_SEALED)
		return false;
	LWLockAcquire(gate_shared->lock, LW_SHARED);
	if (gate_raw_state() == GATE_SEALED)
	{
		*out = gate_shared->seal;
		sealed = true;
	}
	LWLockRelease(gate_shared->lock);
	return sealed;
}
