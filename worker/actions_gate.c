/*
 * actions_gate.c - the actions that the worker does itself: on the gate and
 * the WAL of its own server.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "catalog/pg_control.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/latch.h"
#include "storage/procarray.h"
#include "utils/backend_status.h"
#include "utils/timestamp.h"

#include "gate/gate.h"
#include "pg_compat.h"
#include "worker/journal.h"
#include "worker/run.h"

/* A segment with less than this behind the last record is ended at the seal. */
#define ALIGN_MARGIN	(512 * 1024)
#define NEXT_SEGMENTS	2
#define PADDING_PIECE	(64 * 1024)
#define SETTLE_MS		100
#define SETTLE_QUIET_MS	20
#define ALIGN_LARGEST	(64 * 1024 * 1024)

/* Milliseconds since writes stopped, 0 if they have not. */
double
run_blackout_so_far(Run *run)
{
	return run->blackout ? ms_since(run->blackout_began) : 0;
}

/*
 * The processes of clients whose transaction has lasted for so long. Without
 * track_activities nobody knows how long, and none is named.
 */
json_t *
run_long_transactions(int ms)
{
	json_t	   *pids = json_array();
	TimestampTz now = GetCurrentTimestamp();
	int			n;

	pgstat_clear_backend_activity_snapshot();
	n = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= n; i++)
	{
		PgBackendStatus *backend = &compat_local_beentry(i)->backendStatus;

		if (backend->st_procpid != 0 && backend->st_backendType == B_BACKEND && backend->st_xact_start_timestamp != 0 &&
			TimestampDifferenceExceeds(backend->st_xact_start_timestamp, now, ms))
			json_array_append_new(pids, json_integer(backend->st_procpid));
	}
	pgstat_clear_backend_activity_snapshot();
	return pids;
}

/* Where the target is, as this server's walsender knows it. */
bool
run_find_target(Run *run, LagStandby *lag)
{
	RunNode    *node = run_node(run, run->target);

	return lag_standby(run->target, node ? node->slot : NULL, lag);
}

static uint64
bytes_to_segment_end(void)
{
	return wal_segment_size - XLogSegmentOffset(gate_insert_end(), wal_segment_size);
}

/*
 * WAL that says nothing to anybody: replay and logical decoding pass over no-op
 * records. (Messages of pg_logical_emit_message() are delivered by decoding
 * plugins.) Unimportant: they call for no checkpoint and no list of running
 * transactions. In pieces, as an insert keeps others from theirs.
 */
void
wal_pad(int bytes)
{
	char	   *nothing = palloc0(PADDING_PIECE);

	for (int left = bytes; left > 0; left -= PADDING_PIECE)
	{
		XLogBeginInsert();
		XLogRegisterData(nothing, Min(left, PADDING_PIECE));
		XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
		XLogInsert(RM_XLOG_ID, XLOG_NOOP);
	}
	pfree(nothing);
}

static void
wake_walwriter(void)
{
	Latch	   *latch = compat_walwriter_latch();

	if (latch != NULL)
		SetLatch(latch);
}

/*
 * A WAL writer that has gone to hibernate is woken by every reader that wrote
 * a hint bit, and flushes it, whatever its delay. It forgets hibernation in
 * the round after one with work: so give it work, and one more round.
 */
ActionResult
calm_walwriter(Step *step)
{
	switch (step->phase)
	{
		case 0:
			wal_pad(3 * XLOG_BLCKSZ);
			step->lsn = gate_insert_end() - 2 * XLOG_BLCKSZ;
			wake_walwriter();
			step->phase = 1;
			return ACTION_WAIT;
		case 1:
			if (GetFlushRecPtr(NULL) < step->lsn && ms_since(step->clock) < 1000)
				return ACTION_WAIT;
			wake_walwriter();
			step->phase = 2;
			return ACTION_WAIT;
		default:
			return ACTION_DONE;
	}
}

/*
 * wal_align: a promoted server copies the segment in which the old timeline
 * ends, zeros included (16 MB, a third of the blackout). If the seal falls on
 * the end of a segment there is nothing to copy. So the present segment is
 * filled beforehand, while clients still write, and the seal ends it. No XID,
 * nothing to wait for.
 */
static ActionResult
wal_align_advance(Run *run, Step *step)
{
	LagStandby	lag;
	uint64		left = bytes_to_segment_end();

	if (wal_segment_size > ALIGN_LARGEST)
	{
		strlcpy(step->message, "not done for so large WAL segments", sizeof(step->message));
		return ACTION_DONE;
	}

	if (left > ALIGN_MARGIN)
	{
		wal_pad((int) Min(left - ALIGN_MARGIN / 2, 1024 * 1024));
		XLogFlush(gate_insert_end());
		return ACTION_WAIT;
	}
	if (run_find_target(run, &lag) && lag.replay + ALIGN_MARGIN / 2 >= GetFlushRecPtr(NULL))
		return ACTION_DONE;
	return ACTION_WAIT;
}

/*
 * The segments behind the present one are made before writes stop: it takes time, and a disk that is full would be a
 * PANIC there. Of large segments that would take too long.
 */
static void
make_next_segments(void)
{
	XLogSegNo	present;

	XLByteToSeg(gate_insert_end(), present, wal_segment_size);
	for (int n = 1; n <= NEXT_SEGMENTS && wal_segment_size <= ALIGN_LARGEST; n++)
		close(XLogFileInit(present + n, GetWALInsertionTimeLine()));
}

static ActionResult
wal_align_begin(Run *run, Step *step)
{
	OnFailure	otherwise = step->on_failure;

	step->on_failure = FAIL_UNDO;	/* if that raises an error */
	make_next_segments();
	step->on_failure = otherwise;
	return ACTION_WAIT;
}

/* hold: the gate closes. Its dead man's switch opens it should this worker die. */
static ActionResult
hold_begin(Run *run, Step *step)
{
	int			limit = run_option_int(run, "max_blackout_ms", 10000);

	gate_close(GATE_HOLD, limit + INT64CONST(5000), "switchover");
	return ACTION_DONE;
}

/* seal: waits until no client holds an XID, then makes it final. */
static ActionResult
seal_begin(Run *run, Step *step)
{
	return step->action->advance(run, step);
}

static ActionResult
seal_grace_ended(Run *run, Step *step)
{
	GateHolder	holder;

	if (strcmp(run_option_text(run, "on_grace_end", "cancel"), "cancel") == 0)
	{
		if (gate_drain(DRAIN_CANCEL, &holder) > 0)
			snprintf(step->message, sizeof(step->message), "process %d (%s, application \"%s\") was told to stop and has not ended yet",
					 holder.pid, holder.state, holder.application);
		return ACTION_WAIT;
	}
	if (gate_drain(DRAIN_LOOK, &holder) == 0)
		return ACTION_WAIT;
	if (!TransactionIdIsValid(holder.xid))
		return step_fail(step, "55P03", "a %s (process %d) did not end within the grace", holder.state, holder.pid);
	return step_fail(step, "55P03", "a transaction did not end within the grace (process %d, transaction %u, %s, application \"%s\")",
					 holder.pid, holder.xid, holder.state, holder.application);
}

static ActionResult
seal_advance(Run *run, Step *step)
{
	GateSeal	seal;

	if (gate_drain(DRAIN_LOOK, NULL) > 0)
		return ms_since(step->clock) > run_option_int(run, "grace_ms", 5000) ? seal_grace_ended(run, step) : ACTION_WAIT;
	if (bytes_to_segment_end() <= ALIGN_MARGIN && run_option_int(run, "wal_align", 1))
		RequestXLogSwitch(true);
	memset(&seal, 0, sizeof(seal));
	seal.epoch = run->epoch;
	strlcpy(seal.run, run->key, sizeof(seal.run));
	strlcpy(seal.target, run->target, sizeof(seal.target));
	if (!gate_seal_try(&seal, &run->seal_lsn))
		return ACTION_WAIT;
	snprintf(step->message, sizeof(step->message), "seal LSN %X/%X", LSN_FORMAT_ARGS(run->seal_lsn));
	return ACTION_DONE;
}

/* lag_zero: the target has replayed, not only received, the seal LSN. */
static ActionResult
lag_zero_advance(Run *run, Step *step)
{
	LagStandby	lag;

	if (!run_find_target(run, &lag))
	{
		snprintf(step->message, sizeof(step->message), "node \"%s\" is not connected", run->target);
		return ACTION_WAIT;
	}
	if (lag.replay < run->seal_lsn)
	{
		snprintf(step->message, sizeof(step->message), "node \"%s\" (%s) is %llu bytes behind the seal", run->target,
				 lag.state, (unsigned long long) (run->seal_lsn - lag.replay));
		return ACTION_WAIT;
	}
	step->message[0] = '\0';
	return ACTION_DONE;
}

/*
 * end_sessions: held and idle sessions get 57P01 and come back through the
 * routes. Not before the routes point to the target, lest they come back here.
 */
static ActionResult
end_sessions_advance(Run *run, Step *step)
{

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *other = &run->steps[i];

		if (strcmp(other->name, "repoint") == 0 && other->mine && other->state <= STEP_RUNNING &&
			ms_since(step->clock) < 200)
			return ACTION_WAIT;
	}
	gate_end_held();
	gate_end_sessions(true, worker_asker());
	return ACTION_DONE;
}

/*
 * settle: clients that come back need the processors more than the old primary
 * does. Until their number has not grown for a moment; not for long.
 */
static ActionResult
settle_advance(Run *run, Step *step)
{
	int			clients = gate_client_sessions();

	if (clients > step->phase)
	{
		step->phase = clients;
		INSTR_TIME_SET_CURRENT(step->since);
	}
	if (ms_since(step->clock) > SETTLE_MS || (step->phase > 0 && ms_since(step->since) > SETTLE_QUIET_MS))
		return ACTION_DONE;
	return ACTION_WAIT;
}

/* open, unseal: the undo of hold and seal. Whoever comes first opens the gate. */
static ActionResult
open_begin(Run *run, Step *step)
{
	if (gate_is_mine() && gate_state() != GATE_SEALED)
		gate_open();
	return ACTION_DONE;
}

static ActionResult
unseal_begin(Run *run, Step *step)
{
	GateSeal	seal;

	if (gate_get_seal(&seal) && strcmp(seal.run, run->key) == 0)
		gate_unseal(psprintf("run " INT64_FORMAT " is rolled back: %s", run->id, run->sentence));
	return open_begin(run, step);
}

/* By this server's own configuration: what databases and roles have of their own came with the data. */
static bool
sessions_are_read_only(void)
{
	bool		yes;

	journal_begin();
	yes = journal_exec("SELECT FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only' AND reset_val = 'on' "
					   "AND NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, pg_catalog.unnest(setconfig) AS c (c) "
					   "WHERE pg_catalog.starts_with(c, 'default_transaction_read_only='))", 0) == 1;
	journal_end();
	return yes;
}

/* params {"standbys": false}: it is enough that clients can write. */
static bool
looks_at_standbys(Step *step)
{
	json_error_t err;
	json_t	   *params = json_loads(step->params ? step->params : "{}", 0, &err);
	bool		looks = !json_is_false(json_object_get(params, "standbys"));

	json_decref(params);
	return looks;
}

/*
 * verify: clients can write here, and every standby has replayed what was written here just now. (The journal's own
 * writes show that the server can.)
 */
static ActionResult
verify_begin(Run *run, Step *step)
{
	if (sessions_are_read_only())
		return step_fail(step, "25006", "no client can write: default_transaction_read_only is on");
	if (!looks_at_standbys(step))
		return ACTION_DONE;
	wal_pad(1);
	step->lsn = gate_insert_end();
	XLogFlush(step->lsn);
	return ACTION_WAIT;
}

/* A standby that this run could not bring back will not come while we look. */
static bool
is_given_up(Run *run, const char *node)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_FAILED && strcmp(run->steps[i].subject, node) == 0 &&
			(strcmp(run->steps[i].name, "rejoin") == 0 || strcmp(run->steps[i].name, "follow") == 0))
			return true;
	return false;
}

static ActionResult
verify_advance(Run *run, Step *step)
{
	uint64		missing;
	uint64		given_up = 0;
	char		lsn[32];

	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(step->lsn));
	journal_begin();
	missing = journal_exec("SELECT s.name, s.state FROM pingpong.standby_rows() s JOIN pingpong.node n ON n.name = s.name "
						   "WHERE n.upstream IS NULL AND n.away_since IS NULL AND (s.state = 'streaming' AND s.replay_lsn >= $1::pg_catalog.pg_lsn) IS NOT TRUE "
						   "ORDER BY s.name", 1, lsn);
	for (uint64 i = 0; i < missing; i++)
		given_up += is_given_up(run, journal_text(i, 1));
	if (missing > 0)
		snprintf(step->message, sizeof(step->message), "node \"%s\" %s", journal_text(0, 1),
				 journal_text(0, 2) ? "has not replayed what was written here" : "does not stream");
	journal_end();
	if (missing > given_up)
		return ACTION_WAIT;
	if (missing > 0)
		return step_fail(step, "55000", "%s", pstrdup(step->message));
	strlcpy(step->message, "all standbys have replayed what was written here", sizeof(step->message));
	return ACTION_DONE;
}

const Action actions_of_gate[] = {
	{"wal_align", wal_align_begin, wal_align_advance, false},
	{"hold", hold_begin, NULL, true},
	{"seal", seal_begin, seal_advance, true},
	{"lag_zero", lag_zero_advance, lag_zero_advance, true},
	{"end_sessions", end_sessions_advance, end_sessions_advance, true},
	{"open", open_begin, NULL, true},
	{"unseal", unseal_begin, NULL, true},
	{"settle", settle_advance, settle_advance, false},
	{"verify", verify_begin, verify_advance, false},
	{NULL}
};
