/*
 * gate.c - the actions on the gate of the worker's own server.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"

#include "common/sqlstate.h"
#include "gate/closing.h"
#include "gate/drain.h"
#include "gate/lag.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "gate/state.h"
#include "worker/action/action.h"
#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/mailbox.h"
#include "worker/wal.h"

#define FAR_MS			5		/* a round trip that is worth saving */
#define NEAR_BYTES		(1024 * 1024)
#define SETTLE_MS		100
#define SETTLE_QUIET_MS	20

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
			snprintf(step->message, sizeof(step->message),
					 "process %d (%s, application \"%s\") was told to stop and has not ended yet",
					 holder.pid, holder.state, holder.application);
		return ACTION_WAIT;
	}
	if (gate_drain(DRAIN_LOOK, &holder) == 0)
		return ACTION_WAIT;
	if (!TransactionIdIsValid(holder.xid))
		return step_fail(step, STATE_LOCK_NOT_AVAILABLE, "a %s (process %d) did not end within the grace",
						 holder.state, holder.pid);
	return step_fail(step, STATE_LOCK_NOT_AVAILABLE,
					 "a transaction did not end within the grace (process %d, transaction "
					 "%u, %s, application \"%s\")", holder.pid, holder.xid, holder.state, holder.application);
}

static ActionResult
seal_advance(Run *run, Step *step)
{
	GateSeal	seal;

	if (gate_drain(DRAIN_LOOK, NULL) > 0)
		return ms_since(step->clock) > run_option_int(run, "grace_ms", 5000) ? seal_grace_ended(run, step) :
			ACTION_WAIT;
	if (wal_to_segment_end() <= ALIGN_MARGIN && run_option_int(run, "wal_align", 1))
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

/*
 * Each round trip of the blackout counts between two sites. A target that is nearly there will be by the time the
 * order to promote arrives, which says how far it must have replayed. One that is close tells sooner than the order
 * could: there nothing is ordered that may have to be revoked.
 */
static bool
order_may_wait_there(Run *run, const LagStandby *lag)
{
	return run->target_trip_ms >= FAR_MS && strcmp(lag->state, "streaming") == 0 &&
		lag->replay + NEAR_BYTES >= run->seal_lsn;
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
	if (lag.replay < run->seal_lsn && order_may_wait_there(run, &lag))
	{
		run->replays_there = true;
		snprintf(step->message, sizeof(step->message), "its agent waits for it: a round trip takes %.0f ms",
				 run->target_trip_ms);
		return ACTION_DONE;
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

		if ((other->action->traits & ACTION_LEADS_ROUTE) && other->mine && other->state <= STEP_RUNNING &&
			ms_since(step->clock) < 200)
			return ACTION_WAIT;
	}
	gate_end_held();
	gate_end_sessions(true, mailbox_asker());
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

/* open, unseal: the undo of hold and seal. The first of the two opens the gate. */
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

	if (run_has_sealed(&seal))
		gate_unseal(psprintf("run " INT64_FORMAT " is rolled back: %s", run->id, run->sentence));
	return open_begin(run, step);
}

const Action gate_actions[] = {
	{"hold", hold_begin, NULL},
	{"seal", seal_begin, seal_advance, ACTION_SEALS},
	{"lag_zero", lag_zero_advance, lag_zero_advance},
	{"end_sessions", end_sessions_advance, end_sessions_advance},
	{"settle", settle_advance, settle_advance},
	{"open", open_begin, NULL, ACTION_UNTIL_DONE},
	{"unseal", unseal_begin, NULL, ACTION_UNTIL_DONE},
	{NULL}
};
