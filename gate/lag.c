/*
 * lag.c - waiting for lag zero: until a standby has replayed a position.
 *
 * The position is fixed before the wait begins. To wait until "the current LSN stands still" would never end, since
 * even readers write WAL (hint bits with checksums). Positions are read from the walsenders' shared memory every
 * millisecond. A standby is known by the slot that it streams from. If it uses none it is known by its
 * application_name, for which the walsender is looked up rarely.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "gate/clock.h"
#include "gate/lag.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "pg_compat.h"

#define MAP_AGE_MS		100		/* a reconnected standby has a new walsender */
#define MAP_RETRY_MS	20

/* Which entry of WalSndCtl serves which standby, as last looked up. */
typedef struct Walsender
{
	char		name[NAMEDATALEN];
	int			pid;
	int			entry;
} Walsender;

static Walsender *walsenders = NULL;	/* max_wal_senders of them */
static int	nwalsenders = 0;
static int64 looked_up_at = 0;	/* gate_clock() */

PG_FUNCTION_INFO_V1(pingpong_wait_lag_zero);

/* ---- the walsenders ---- */

static const char *
walsender_state_name(WalSndState state)
{
	switch (state)
	{
		case WALSNDSTATE_STARTUP:
			return "startup";
		case WALSNDSTATE_BACKUP:
			return "backup";
		case WALSNDSTATE_CATCHUP:
			return "catchup";
		case WALSNDSTATE_STREAMING:
			return "streaming";
		case WALSNDSTATE_STOPPING:
			return "stopping";
	}
	return "unknown";
}

/* False if this entry of WalSndCtl is no longer used by process pid. */
static bool
read_walsender(int entry, int pid, LagStandby *out)
{
	WalSnd	   *walsnd = &WalSndCtl->walsnds[entry];
	WalSndState state;
	bool		found;

	SpinLockAcquire(&walsnd->mutex);
	found = walsnd->pid == pid;
	state = walsnd->state;
	out->sent = walsnd->sentPtr;
	out->write = walsnd->write;
	out->flush = walsnd->flush;
	out->replay = walsnd->apply;
	SpinLockRelease(&walsnd->mutex);
	out->pid = pid;
	out->state = walsender_state_name(state);
	out->by_slot = false;
	return found;
}

static int
entry_of(int pid)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		LagStandby	unused;

		if (read_walsender(i, pid, &unused))
			return i;
	}
	return -1;
}

/* Physical replication is connected to no database. Tools are not standbys. */
static bool
is_standby(const PgBackendStatus *activity)
{
	return activity->st_procpid > 0 && activity->st_backendType == B_WAL_SENDER &&
		activity->st_databaseid == InvalidOid && activity->st_appname != NULL &&
		strcmp(activity->st_appname, "pg_basebackup") != 0 &&
		strcmp(activity->st_appname, "pg_receivewal") != 0;
}

static void
look_up_walsenders(void)
{
	int			n;

	if (walsenders == NULL)
		walsenders = MemoryContextAlloc(TopMemoryContext, Max(max_wal_senders, 1) * sizeof(Walsender));
	nwalsenders = 0;
	pgstat_clear_backend_activity_snapshot();
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n && nwalsenders < max_wal_senders; i++)
	{
		LocalPgBackendStatus *local = compat_local_beentry(i);
		Walsender  *walsender = &walsenders[nwalsenders];

		if (local == NULL || !is_standby(&local->backendStatus))
			continue;
		walsender->pid = local->backendStatus.st_procpid;
		walsender->entry = entry_of(walsender->pid);
		strlcpy(walsender->name, local->backendStatus.st_appname, sizeof(walsender->name));
		if (walsender->entry >= 0)
			nwalsenders++;
	}
	pgstat_clear_backend_activity_snapshot();
	looked_up_at = gate_clock();
}

/*
 * Of several with the same name, the furthest: after a cut connection the old
 * walsender lingers until its timeout, and reports nothing any more.
 */
static bool
read_furthest(const char *name, LagStandby *out)
{
	bool		found = false;

	for (int i = 0; i < nwalsenders; i++)
	{
		LagStandby	one;

		if (strcmp(walsenders[i].name, name) != 0 ||
			!read_walsender(walsenders[i].entry, walsenders[i].pid, &one))
			continue;
		if (!found || one.replay >= out->replay)
			*out = one;
		found = true;
	}
	return found;
}

static bool
map_is_older_than(int ms)
{
	return gate_clock() - looked_up_at >= ms * 1000;
}

static bool
read_by_name(const char *name, LagStandby *out)
{
	if (map_is_older_than(MAP_AGE_MS))
		look_up_walsenders();
	if (read_furthest(name, out))
		return true;
	if (!map_is_older_than(MAP_RETRY_MS))
		return false;
	look_up_walsenders();
	return read_furthest(name, out);
}

/* The process that streams from this physical replication slot; 0: none. */
static int
user_of_slot(const char *name)
{
	ReplicationSlot *slot;
	int			pid = 0;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot && SlotIsPhysical(slot))
	{
		SpinLockAcquire(&slot->mutex);
		pid = slot->active_pid;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return pid;
}

/* A tool that receives WAL through the slot replays nothing, and does not count. */
static bool
read_by_slot(const char *slot, LagStandby *out)
{
	int			pid = user_of_slot(slot);
	int			entry = pid ? entry_of(pid) : -1;

	if (entry < 0 || !read_walsender(entry, pid, out) || XLogRecPtrIsInvalid(out->replay))
		return false;
	out->by_slot = true;
	return true;
}

bool
lag_standby(const char *name, const char *slot, LagStandby *out)
{
	if (slot && slot[0] && read_by_slot(slot, out))
		return true;
	return read_by_name(name, out);
}

/* ---- the SQL function ---- */

/* One standby that is waited for. */
typedef struct Awaited
{
	char		name[NAMEDATALEN];
	char		slot[NAMEDATALEN];	/* of the node of that name; empty: not known */
	int			pid;			/* of its walsender, until that is gone; 0: any of that name */
	XLogRecPtr	replay;			/* once done */
	double		waited_ms;
	bool		done;
} Awaited;

static double
ms_since(int64 start)
{
	return (gate_clock() - start) / 1000.0;
}

/* Of several with the same name each is meant; one that has reconnected is any of that name. */
static bool
find_awaited(Awaited *one, LagStandby *out)
{
	int			entry = one->pid ? entry_of(one->pid) : -1;

	if (entry >= 0 && read_walsender(entry, one->pid, out))
		return true;
	one->pid = 0;
	return lag_standby(one->name, one->slot, out);
}

static void
report_behind(Awaited *one, XLogRecPtr lsn, int64 timeout_ms)
{
	LagStandby	standby;

	if (!find_awaited(one, &standby))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("standby \"%s\" did not replay %X/%X within %lld ms",
						one->name, LSN_FORMAT_ARGS(lsn), (long long) timeout_ms),
				 one->slot[0] ? errdetail("No standby of that application_name, nor one that uses the slot \"%s\", "
										  "is connected to this server.", one->slot) :
				 errdetail("No standby of that application_name is connected to this server."),
				 errhint("See pg_stat_replication.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("standby \"%s\" did not replay %X/%X within %lld ms",
					one->name, LSN_FORMAT_ARGS(lsn), (long long) timeout_ms),
			 errdetail("Its state is \"%s\"; it has received up to %X/%X and replayed up to "
					   "%X/%X, %lld bytes behind.", standby.state, LSN_FORMAT_ARGS(standby.flush),
					   LSN_FORMAT_ARGS(standby.replay),
					   (long long) (lsn > standby.replay ? lsn - standby.replay : 0))));
}

/* The slot of the node of that name, into slot, if the caller may read pingpong.node. */
static void
find_slot(const char *node, char *slot)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(node)};
	Oid			table = get_relname_relid("node", get_namespace_oid("pingpong", true));

	if (!OidIsValid(table) || pg_class_aclcheck(table, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		return;
	SPI_connect();
	if (SPI_execute_with_args("SELECT slot FROM pingpong.node WHERE name OPERATOR(pg_catalog.=) $1", 1, types, values,
							  NULL, true, 1) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		char	   *found = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		strlcpy(slot, found ? found : "", NAMEDATALEN);
	}
	SPI_finish();
}

/* The named standby, or all that are connected now. */
static int
list_awaited(const char *node, Awaited *awaited)
{
	if (node)
	{
		strlcpy(awaited[0].name, node, NAMEDATALEN);
		find_slot(node, awaited[0].slot);
		return 1;
	}
	look_up_walsenders();
	for (int i = 0; i < nwalsenders; i++)
	{
		strlcpy(awaited[i].name, walsenders[i].name, NAMEDATALEN);
		awaited[i].pid = walsenders[i].pid;
	}
	if (nwalsenders == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no standby is connected to this server")));
	return nwalsenders;
}

/* Look once at each; returns one that is not there yet, or NULL. */
static Awaited *
look_at_standbys(Awaited *awaited, int n, XLogRecPtr lsn, int64 start)
{
	Awaited    *behind = NULL;

	for (int i = 0; i < n; i++)
	{
		LagStandby	standby;

		if (awaited[i].done)
			continue;
		if (find_awaited(&awaited[i], &standby) && standby.replay >= lsn)
		{
			awaited[i].done = true;
			awaited[i].replay = standby.replay;
			awaited[i].waited_ms = ms_since(start);
		}
		else
			behind = &awaited[i];
	}
	return behind;
}

static void
wait_for_standbys(Awaited *awaited, int n, XLogRecPtr lsn, int64 timeout_ms)
{
	int64		start = gate_clock();
	Awaited    *behind;

	while ((behind = look_at_standbys(awaited, n, lsn, start)) != NULL)
	{
		if (ms_since(start) >= timeout_ms)
			report_behind(behind, lsn, timeout_ms);
		gate_nap();
	}
}

/* The name of this server's node, or else of its cluster. */
static const char *
own_name(void)
{
	const char *name = GetConfigOption("pingpong.node_name", true, false);

	return name && name[0] ? name : cluster_name;
}

/* On a standby: until this server itself has replayed the position. */
static void
wait_for_replay(Awaited *self, XLogRecPtr lsn, int64 timeout_ms)
{
	int64		start = gate_clock();

	strlcpy(self->name, own_name(), NAMEDATALEN);
	while ((self->replay = GetXLogReplayRecPtr(NULL)) < lsn)
	{
		if (!RecoveryInProgress())
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("recovery of this server ended before it replayed %X/%X", LSN_FORMAT_ARGS(lsn)),
					 errdetail("It has replayed up to %X/%X.", LSN_FORMAT_ARGS(self->replay))));
		if (ms_since(start) >= timeout_ms)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("this server did not replay %X/%X within %lld ms",
							LSN_FORMAT_ARGS(lsn), (long long) timeout_ms),
					 errdetail("It has replayed up to %X/%X, %lld bytes behind.",
							   LSN_FORMAT_ARGS(self->replay), (long long) (lsn - self->replay))));
		gate_nap();
	}
	self->waited_ms = ms_since(start);
}

static void
check_standby_arguments(const char *node, bool has_lsn)
{
	if (!has_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"lsn\" must be given on a standby")));
	if (node && strcmp(node, own_name()) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot wait for node \"%s\" on a standby", node),
				 errdetail("A standby can only wait for its own replay; its name is \"%s\".", own_name()),
				 errhint("Call it on the primary, or without \"node\".")));
}

/* What lag zero means now: the seal, else what is durable here. */
static XLogRecPtr
present_goal(void)
{
	GateSeal	seal;

	return gate_get_seal(&seal) ? seal.lsn : GetFlushRecPtr(NULL);
}

static void
put_rows(FunctionCallInfo fcinfo, const Awaited *awaited, int n)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < n; i++)
	{
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = CStringGetTextDatum(awaited[i].name);
		values[1] = LSNGetDatum(awaited[i].replay);
		values[2] = Float8GetDatum(awaited[i].waited_ms);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

Datum
pingpong_wait_lag_zero(PG_FUNCTION_ARGS)
{
	char	   *node = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	Awaited    *awaited = palloc0(sizeof(Awaited) * Max(max_wal_senders, 1));
	int64		timeout_ms;
	int			n = 1;

	gate_require_shmem();
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"timeout\" must not be null")));
	timeout_ms = gate_interval_ms(PG_GETARG_INTERVAL_P(1), "timeout");

	InitMaterializedSRF(fcinfo, 0);
	if (RecoveryInProgress())
	{
		check_standby_arguments(node, !PG_ARGISNULL(2));
		wait_for_replay(&awaited[0], PG_GETARG_LSN(2), timeout_ms);
	}
	else
	{
		XLogRecPtr	lsn = PG_ARGISNULL(2) ? present_goal() : PG_GETARG_LSN(2);

		n = list_awaited(node, awaited);
		wait_for_standbys(awaited, n, lsn, timeout_ms);
	}
	put_rows(fcinfo, awaited, n);
	return (Datum) 0;
}
