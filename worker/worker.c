/*
 * worker.c - the background worker: registration and main loop.
 *
 * There is one for each server, attached to pingpong.database. On a standby it only waits for a promotion. Its loop
 * has one wait for everything (latch, postmaster, the agents' sockets, timers), so that no step blocks another one or
 * a shutdown. The start is always a recovery: the journal and the seal tell what an earlier worker left.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "gate/guard.h"
#include "gate/sealing.h"
#include "gate/state.h"
#include "pg_compat.h"
#include "worker/agents.h"
#include "worker/alerts.h"
#include "worker/clock.h"
#include "worker/guard.h"
#include "worker/history.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/peers.h"
#include "worker/probe.h"
#include "worker/readiness.h"
#include "worker/reconcile.h"
#include "worker/restore.h"
#include "worker/runner.h"
#include "worker/sampler.h"
#include "worker/settings.h"
#include "worker/watch.h"
#include "worker/worker.h"

#define AWAKE_NAP_MS	2		/* a promotion may come any moment */
#define NOT_READY_NAP_MS 1000	/* the extension is not there yet */
#define RETRY_NAP_MS	100
#define BUSY_US			(3 * 1000 * 1000)
#define LOOK_US			(5 * 1000 * 1000)	/* whether the extension is still there */
PGDLLEXPORT void pingpong_worker_main(Datum arg);

/* From _PG_init, while shared_preload_libraries is processed. */
void
worker_init(void)
{
	BackgroundWorker worker;

	settings_define();
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "pg_pingpong", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "pingpong_worker_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "pg_pingpong worker", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "pg_pingpong worker", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

/*
 * The journal must never wait for a standby, nor at the gate. Whatever else could end a transaction of ours or change
 * what a value looks like is set too: the role, the database or the whole server may have it otherwise.
 */
static void
set_own_settings(void)
{
	static const char *const settings[][2] = {
		{"application_name", "pg_pingpong worker"},
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "local"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_deferrable", "off"},
		{"lock_timeout", "5s"},
		{COMPAT_TRANSACTION_TIMEOUT, "0"},
		{"standard_conforming_strings", "on"},
		{"DateStyle", "ISO"},
		{"IntervalStyle", "postgres"},
		{"extra_float_digits", "1"},
		{"array_nulls", "on"},
		{"transform_null_equals", "off"},
		{"default_tablespace", ""},
		{"temp_tablespaces", ""},
		{"row_security", "on"},
		{"jit", "off"},
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("pingpong.bypass_gate", "on", PGC_SUSET, PGC_S_SESSION);
}

/* Since it was asked last: by an operator, or by a run of ours. */
static bool
seal_was_lifted(void)
{
	static bool sealed = false;
	bool		was = sealed;

	sealed = gate_state() == GATE_SEALED;
	return was && !sealed;
}

static bool
is_for_standby(RequestKind kind)
{
	return kind == REQUEST_SIGHT || kind == REQUEST_FAILOVER;
}

/* One round on a standby: a failover is asked for there, and a run that was begun may have to be undone. */
static long
round_on_standby(bool *recovered)
{
	RequestKind kind;
	char		target[PP_NAME_LEN];
	char		options[PP_OPTIONS_LEN];
	char		requested_by[NAMEDATALEN];

	if (!*recovered && !runner_recover())
		return RETRY_NAP_MS;
	*recovered = true;
	if (mailbox_take(&kind, target, options, requested_by))
	{
		if (runner_busy())
			runner_reject();
		else if (!is_for_standby(kind))
			runner_refuse("this server is a standby");
		else
			runner_request(kind, target, options, requested_by);
	}
	if (runner_busy())
		return runner_advance();
	return mailbox_awake() ? AWAKE_NAP_MS : worker_sample_interval;
}

/* One round on a primary; gives the longest nap in ms. */
static long
round_on_primary(bool *recovered)
{
	RequestKind kind;
	char		target[PP_NAME_LEN];
	char		options[PP_OPTIONS_LEN];
	char		requested_by[NAMEDATALEN];
	static bool recovering = false;

	if ((seal_was_lifted() || recovering) && !runner_busy())
		*recovered = recovering = false;	/* a run that has left this server, or a second one, has no end else */
	/* a failover that was begun here as a standby: its first part is at its end in a moment */
	if (!*recovered && runner_busy())
		return runner_advance();
	if (!*recovered && !gate_is_replaced())	/* then its journal is an old one: the runs go on elsewhere */
	{
		gate_remove_void_seal();
		if (!runner_recover())
			return RETRY_NAP_MS;
		*recovered = true;
		recovering = runner_busy();
	}
	if (!runner_gives_way() && mailbox_take(&kind, target, options, requested_by))
	{
		if (runner_busy())
			runner_reject();
		else if (is_for_standby(kind))
			runner_refuse("this server is a primary");
		else
			runner_request(kind, target, options, requested_by);
	}
	if (!runner_busy())
		restore_if_due();
	if (!runner_busy())
		reconcile_if_due();
	if (runner_busy())
		return runner_advance();
	return gate_state() == GATE_OPEN ? Min(worker_sample_interval, alerts_advance()) : worker_sample_interval;
}

/* Reports the error and leaves its transaction; gives it, in the loop's context. */
static ErrorData *
clean_up_error(MemoryContext loop_context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(loop_context);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	if (IsTransactionState())
		AbortCurrentTransaction();
	LWLockReleaseAll();
	MemoryContextSwitchTo(loop_context);
	return error;
}

static long
guarded_round(MemoryContext loop_context, bool standby, bool *recovered)
{
	volatile long nap = 100;

	PG_TRY();
	{
		nap = standby ? round_on_standby(recovered) : round_on_primary(recovered);
	}
	PG_CATCH();
	{
		runner_error(clean_up_error(loop_context));
	}
	PG_END_TRY();
	return nap;
}

/* Before anything else on a primary that was started: may it write? Gives the longest nap in ms. */
static long
guarded_boot(MemoryContext loop_context, bool ready)
{
	volatile long nap = RETRY_NAP_MS;

	PG_TRY();
	{
		nap = guard_advance(ready);
		if (ready && guard_is_on())
			guard_reject();
	}
	PG_CATCH();
	{
		FreeErrorData(clean_up_error(loop_context));
	}
	PG_END_TRY();
	return nap;
}

/* The asking backend gets the error as what stands against it. */
static long
guarded_probe(MemoryContext loop_context, bool ready)
{
	volatile long nap = 0;

	PG_TRY();
	{
		nap = probe_advance(ready);
	}
	PG_CATCH();
	{
		ErrorData  *error = clean_up_error(loop_context);

		probe_failed(error->message);
	}
	PG_END_TRY();
	return nap;
}

/* Whether it may write what nobody has asked for: nothing else is being done, and the gate is open. */
static bool
is_at_leisure(bool recovered)
{
	return recovered && !RecoveryInProgress() && !runner_busy() && gate_state() == GATE_OPEN;
}

/*
 * Those whom this server asks at its next start. Not in the first moments behind a promotion: a run is busy there.
 * Nor before the file of a failover is a row: the new timeline with the epoch of before would accuse this server.
 */
static long
keep_peers(bool ready, bool recovered)
{
	static int64 open_since = 0;	/* now_us() */

	if (RecoveryInProgress() || gate_state() != GATE_OPEN || (ready && !recovered))
	{
		open_since = 0;
		return worker_sample_interval;
	}
	if (open_since == 0)
		open_since = now_us();
	if (runner_busy() && now_us() - open_since < BUSY_US)
		return worker_sample_interval;
	return peers_advance(ready);
}

static long
look_around(bool ready, bool recovered)
{
	long		nap = keep_peers(ready, recovered);

	if (!ready)
		return nap;
	nap = Min(nap, Min(sampler_advance(), watch_advance()));

	if (!is_at_leisure(recovered))
	{
		readiness_drop();
		reconcile_drop();
		return nap;
	}
	nap = Min(nap, reconcile_advance());
	nap = Min(nap, history_advance());
	return Min(nap, readiness_advance());
}

/* What the worker does besides; what fails is tried again in the next round of it. */
static long
guarded_look(MemoryContext loop_context, bool ready, bool recovered)
{
	volatile long nap = NOT_READY_NAP_MS;

	PG_TRY();
	{
		nap = look_around(ready, recovered);
	}
	PG_CATCH();
	{
		FreeErrorData(clean_up_error(loop_context));
		readiness_drop();
	}
	PG_END_TRY();
	return nap;
}

/* Whether nothing may come in the runner's way: writers wait, here or for the promotion of this server. */
static bool
in_blackout(void)
{
	if (RecoveryInProgress())
		return mailbox_awake();
	return runner_busy() && gate_state() != GATE_OPEN;
}

static void
reload_settings(void)
{
	ConfigReloadPending = false;	/* first, or a second SIGHUP is lost */
	ProcessConfigFile(PGC_SIGHUP);
}

static void
start_up(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	agents_startup();
	guard_before_database();
	BackgroundWorkerInitializeConnection(worker_database, NULL, 0);
	set_own_settings();
	before_shmem_exit(mailbox_detach, (Datum) 0);
	mailbox_attach();
	runner_startup();
}

/* It may come at any time, and go again (DROP EXTENSION). */
static void
look_for_extension(bool *ready)
{
	static int64 look_at = 0;	/* now_us() */

	if (*ready && (RecoveryInProgress() || runner_busy() || now_us() < look_at))
		return;
	look_at = now_us() + LOOK_US;
	if (journal_ready() == *ready)
		return;
	*ready = !*ready;
	mailbox_ready(*ready);
}

void
pingpong_worker_main(Datum arg)
{
	MemoryContext loop_context;
	bool		ready = false;
	bool		recovered = false;
	bool		guarding = true;	/* a primary may be guarded, and is looked at */
	bool		standby = RecoveryInProgress();

	start_up();
	loop_context = AllocSetContextCreate(TopMemoryContext, "pg_pingpong loop", ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		long		nap_ms;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
			reload_settings();
		MemoryContextSwitchTo(loop_context);
		agents_advance();
		look_for_extension(&ready);
		if (standby && !RecoveryInProgress())
			standby = recovered = false;	/* what a predecessor left is now another question */
		nap_ms = NOT_READY_NAP_MS;
		if (guarding && !standby)
		{
			nap_ms = guarded_boot(loop_context, ready);
			guarding = guard_is_on();
		}
		/* in the same round: where nothing is guarded, a promoted server takes its run over at once */
		if (ready && (standby || !guarding))
			nap_ms = guarded_round(loop_context, standby, &recovered);
		if (probe_wanted())
			nap_ms = Min(nap_ms, guarded_probe(loop_context, ready));
		if (!in_blackout())
			nap_ms = Min(nap_ms, guarded_look(loop_context, ready, recovered));
		MemoryContextSwitchTo(loop_context);
		MemoryContextReset(loop_context);
		agents_wait(nap_ms);
	}
}
