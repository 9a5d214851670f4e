/*
 * cross.c
 *		The window of an upgrade.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/datadir.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "agent/pg/version.h"
#include "agent/upgrade/boot.h"
#include "agent/upgrade/compare.h"
#include "agent/upgrade/cross.h"
#include "agent/upgrade/leftover.h"
#include "agent/upgrade/prepare.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/snapshot.h"
#include "agent/upgrade/upgrade.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 10000
#define STOP_TIMEOUT_MS 600000	/* the shutdown checkpoint */
#define START_TIMEOUT_MS 600000
#define REMAINS_TIMEOUT_MS 20000
#define RUN_TIMEOUT_MS 86400000
#define OPTIONS_FILE "postmaster.opts"

/* ---- what is remembered, and what is seen ---- */

/* With the record of this run; fails the job where there is none, or where it is of another. */
static int
open_own(ActionContext *ctx, json_t *params, Upgrade *upgrade, UpgradeRecord *record)
{
	if (record_open(ctx, record) < 0)
		return -1;
	if (!record_is_own(ctx, record))
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "no upgrade of this run was prepared here");
	return upgrade_open(ctx, params, upgrade);
}

/* Is the directory sealed by that run? No server runs there. */
static bool
sealed_by(const char *data, const char *by)
{
	DataDir		dir = datadir_look(data);
	char		run[80] = "";
	unsigned long long lsn;

	return dir.known && seal_read(data, &dir, run, sizeof(run), &lsn) && strcmp(run, by) == 0;
}

static bool
sealed_on_disk(ActionContext *ctx, const char *data)
{
	return sealed_by(data, ctx->run);
}

/* The new server wrote for nobody, or it is sealed by the run that gives up what it wrote. */
static bool
may_halt(const Upgrade *upgrade, const UpgradeRecord *record)
{
	return sealed_by(upgrade->new->data, record->back[0] ? record->back : upgrade->ctx->run);
}

static bool
sealed_here(ActionContext *ctx, PGconn *conn)
{
	char		run[80] = "";
	unsigned long long lsn;

	return server_seal(ctx->pg, conn, run, sizeof(run), &lsn) && strcmp(run, ctx->run) == 0;
}

static bool
is_status(const PgInstance *pg, const char *status)
{
	return strcmp(pidfile_read(pg->data).status, status) == 0;
}

/* pg_upgrade's own servers outlive it when it is killed, and so do the processes that it has forked. */
static int
end_servers(const Upgrade *upgrade)
{
	const PgInstance *both[] = {upgrade->old, upgrade->new};

	if (leftover_end_all(upgrade) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
	{
		ActionContext on = upgrade_on(upgrade, both[i]);

		if (file_exists(both[i]->data) && (control_stop(&on, true, STOP_TIMEOUT_MS) < 0 ||
			server_await_remains(&on, clock_monotonic_ms() + REMAINS_TIMEOUT_MS) < 0))
			return -1;
	}
	return 0;
}

/*
 * pg_upgrade starts both servers in its own way, and the next start would take that for the server's own: the old
 * one's options are kept aside, the new one has none.
 */
static int
keep_options(const Upgrade *upgrade, bool back)
{
	char	   *options = data_path(upgrade->old, OPTIONS_FILE);
	char	   *folder = upgrade_work_folder(upgrade);
	char	   *aside = xasprintf("%s/" OPTIONS_FILE, folder);
	const char *from = back ? aside : options;
	int			rc = 0;

	if (!back && (make_directory(folder, 0700) < 0 || (unlink(aside) < 0 && errno != ENOENT)))
		rc = -1;
	else if (file_exists(from))
		rc = file_copy(from, back ? options : aside);
	if (rc < 0)
		action_fail(upgrade->ctx, STATE_IO_ERROR, "could not copy \"%s\": %s", from, strerror(errno));
	free(aside);
	free(folder);
	free(options);
	return rc;
}

static int
forget_options(const Upgrade *upgrade)
{
	char	   *options = data_path(upgrade->new, OPTIONS_FILE);
	int			rc = unlink(options) < 0 && errno != ENOENT ? -1 : 0;

	if (rc < 0)
		action_fail(upgrade->ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", options, strerror(errno));
	free(options);
	return rc;
}

/* ---- the old server goes down ---- */

static int
refuse_unsealed(ActionContext *ctx)
{
	return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "node \"%s\" is not sealed by this run",
					   ctx->config->node);
}

/* Sealed, so that nothing changes any more, and not down yet: now it tells what the new server has to hold. */
static int
look_back(const Upgrade *upgrade, ActionContext *on, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(on, NULL, QUERY_TIMEOUT_MS);
	int			rc = !conn ? -1 : !sealed_here(on, conn) ? refuse_unsealed(on) :
		compare_begin(upgrade, conn, result);

	PQfinish(conn);
	return rc;
}

int
action_upgrade_stop(ActionContext *ctx, json_t *params, json_t *result)
{
	UpgradeRecord record;
	Upgrade		upgrade;
	ActionContext on;
	DataDir		dir;

	if (open_own(ctx, params, &upgrade, &record) < 0)
		return -1;
	if (record.state >= RECORD_STARTED)
		return 0;				/* the order again, of a worker that has not seen the answer */
	on = upgrade_on(&upgrade, upgrade.old);
	/* one that is going down already cannot be asked; its seal is looked at on disk */
	if (control_running(upgrade.old) &&
		((!is_status(upgrade.old, "stopping") && look_back(&upgrade, &on, result) < 0) ||
		 control_stop(&on, false, STOP_TIMEOUT_MS) < 0))
		return -1;
	if (server_await_remains(&on, clock_monotonic_ms() + REMAINS_TIMEOUT_MS) < 0)
		return -1;
	dir = datadir_look(upgrade.old->data);
	if (!dir.known || dir.state != DATA_SHUTDOWNED)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the old server did not shut down cleanly");
	if (!sealed_on_disk(ctx, upgrade.old->data))
		return refuse_unsealed(ctx);
	json_object_set_new(result, "stopped_ms", json_real(clock_realtime_ms()));
	return 0;
}

/* ---- pg_upgrade ---- */

/* The new server has another system identifier, and begins after what was copied: the seal says so. */
static int
seal_new(const Upgrade *upgrade)
{
	DataDir		dir = datadir_look(upgrade->new->data);

	if (!dir.known || seal_carry(upgrade->old->data, upgrade->new->data, &dir) < 0)
		return action_fail(upgrade->ctx, STATE_IO_ERROR, "could not seal the new data directory \"%s\": %s",
						   upgrade->new->data, dir.known ? strerror(errno) : "its pg_control cannot be read");
	return 0;
}

/* From here on the old directory may be without its files. */
static int
give_files(const Upgrade *upgrade, UpgradeRecord *record)
{
	record->ran |= upgrade->mode == UPGRADE_SWAP;
	return record->ran ? record_keep(upgrade->ctx, record) : 0;
}

int
action_upgrade_run(ActionContext *ctx, json_t *params, json_t *result)
{
	UpgradeRecord record;
	Upgrade		upgrade;
	double		began = clock_monotonic_ms();

	if (open_own(ctx, params, &upgrade, &record) < 0)
		return -1;
	if (record.state >= RECORD_STARTED)
		return 0;
	if (record.state != RECORD_PREPARED)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the new cluster is not as it was prepared");
	if (control_running(upgrade.old) || !sealed_on_disk(ctx, upgrade.old->data))
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the old server is not down, sealed by this run");
	if (keep_options(&upgrade, false) < 0 || record_enter(ctx, &record, RECORD_CROSSING) < 0)
		return -1;
	if (upgrade_snapshot_take(&upgrade, &record) < 0 || give_files(&upgrade, &record) < 0)
		return -1;
	action_progress(ctx, -1, "pg_upgrade");
	if (upgrade_run_tool(&upgrade, false, (int) param_int(params, "timeout_ms", RUN_TIMEOUT_MS)) < 0 ||
		forget_options(&upgrade) < 0 || seal_new(&upgrade) < 0)
		return -1;
	json_object_set_new(result, "upgrade_ms", json_real(clock_monotonic_ms() - began));
	return 0;
}

/* In link mode pg_upgrade takes the old server's pg_control away when it begins to link. */
static int
restore_control(const Upgrade *upgrade)
{
	char	   *control = data_path(upgrade->old, "global/pg_control");
	char	   *aside = data_path(upgrade->old, "global/pg_control.old");
	char	   *folder = data_path(upgrade->old, "global");
	int			rc = 0;

	if (!file_exists(control) && file_exists(aside))
		rc = rename(aside, control) < 0 || file_fsync_path(folder) < 0 ? -1 : 0;
	if (rc < 0)
		action_fail(upgrade->ctx, STATE_IO_ERROR, "could not rename \"%s\": %s", aside, strerror(errno));
	free(folder);
	free(aside);
	free(control);
	return rc;
}

/* Some snapshots bring the new directory back, too, as it was then. */
static int
restore_old(const Upgrade *upgrade, const UpgradeRecord *record)
{
	if (!record->ran)
		return restore_control(upgrade);
	if (upgrade_snapshot_restore(upgrade, record) < 0)
		return -1;
	if (!record->back[0])
		upgrade_give_up_new(upgrade, record);
	return 0;
}

static int
revert(ActionContext *ctx, json_t *params)
{
	UpgradeRecord record;
	Upgrade		upgrade;

	if (open_own(ctx, params, &upgrade, &record) < 0)
		return -1;
	if (record.state >= RECORD_STARTED)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "there is no way back: the new server was started on these files");
	if (record.state <= RECORD_PREPARED)
		return 0;				/* pg_upgrade had not begun, or this was done */
	if (end_servers(&upgrade) < 0)
		return -1;
	if (record.ran && upgrade_snapshot_ready(&upgrade, &record) < 0)
		return -1;				/* in mode swap the new directory has the only files then */
	/* first, since the others may need the room; what was written for clients is never removed by a run */
	if (!record.back[0])
		upgrade_give_up_new(&upgrade, &record);
	if (restore_old(&upgrade, &record) < 0 || keep_options(&upgrade, true) < 0)
		return -1;
	if (!sealed_on_disk(ctx, upgrade.old->data))
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the old data directory is not as it was");
	return record_enter(ctx, &record, RECORD_REVERTED);
}

int
action_upgrade_revert(ActionContext *ctx, json_t *params, json_t *result)
{
	(void) result;
	return revert(ctx, params);
}

/*
 * The old server as it was. One that is just going down, or that pg_upgrade has started, is ended first. If the
 * revert did not succeed it is tried once more: on what pg_upgrade has left no server may run.
 */
int
action_upgrade_serve(ActionContext *ctx, json_t *params, json_t *result)
{
	UpgradeRecord record;
	Upgrade		upgrade;
	ActionContext on;
	PGconn	   *conn;

	(void) result;
	if (open_own(ctx, params, &upgrade, &record) < 0)
		return -1;
	if (record.state >= RECORD_STARTED)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the new server was started on these files");
	if (record.state == RECORD_CROSSING && revert(ctx, params) < 0)
		return -1;
	on = upgrade_on(&upgrade, upgrade.old);
	if (control_running(upgrade.old) && !is_status(upgrade.old, "ready") &&
		(control_stop(&on, false, STOP_TIMEOUT_MS) < 0 ||
		 server_await_remains(&on, clock_monotonic_ms() + REMAINS_TIMEOUT_MS) < 0))
		return -1;
	if (control_start(&on) < 0)
		return -1;
	conn = control_wait_ready(&on, clock_monotonic_ms() + START_TIMEOUT_MS);
	PQfinish(conn);
	return conn ? 0 : -1;
}

/* ---- the new server comes up ---- */

static int
check_new(const Upgrade *upgrade, ActionContext *on, PGconn *conn)
{
	if (PQserverVersion(conn) / 10000 != upgrade->to)
		return action_fail(on, STATE_INTERNAL_ERROR, "the server that was started is of version %d",
						   PQserverVersion(conn) / 10000);
	if (pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()") || !sealed_here(on, conn))
		return action_fail(on, STATE_NOT_IN_PREREQUISITE_STATE, "the new server is not sealed by this run");
	return 0;
}

static void
checkpoint_of(const Upgrade *upgrade, char *text, size_t size)
{
	DataDir		dir = datadir_look(upgrade->new->data);

	text[0] = '\0';
	if (dir.known && dir.state == DATA_SHUTDOWNED)
		snprintf(text, size, "%llX", (unsigned long long) dir.checkpoint);
}

static void
remember_checkpoint(const Upgrade *upgrade, UpgradeRecord *record)
{
	checkpoint_of(upgrade, record->checkpoint, sizeof(record->checkpoint));
}

/* It was told to start and did not come as far as to touch a file: its pg_control is the one that pg_upgrade left. */
static bool
has_never_run(const Upgrade *upgrade, const UpgradeRecord *record)
{
	char		now[32];

	checkpoint_of(upgrade, now, sizeof(now));
	return now[0] && strcmp(now, record->checkpoint) == 0;
}

int
action_upgrade_start(ActionContext *ctx, json_t *params, json_t *result)
{
	UpgradeRecord record;
	Upgrade		upgrade;
	ActionContext on;
	PGconn	   *conn;
	int			rc;

	if (open_own(ctx, params, &upgrade, &record) < 0)
		return -1;
	if (!control_running(upgrade.new) && !sealed_on_disk(ctx, upgrade.new->data))
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the new data directory is not sealed by this run");
	if (record.state < RECORD_STARTED)
	{
		if (upgrade_ready_main(ctx) < 0)
			return -1;
		remember_checkpoint(&upgrade, &record);
		if (record_enter(ctx, &record, RECORD_STARTED) < 0)
			return -1;
	}
	/* first: once the new server has run on linked files, nothing may fail */
	if (boot_move(ctx, upgrade.old, upgrade.new) < 0)
		return -1;
	on = upgrade_on(&upgrade, upgrade.new);
	action_progress(ctx, -1, "starting the server of version %d", upgrade.to);
	conn = control_start(&on) < 0 ? NULL : control_wait_ready(&on, clock_monotonic_ms() + START_TIMEOUT_MS);
	rc = !conn || check_new(&upgrade, &on, conn) < 0 ? -1 : compare_end(&upgrade, conn, result);
	PQfinish(conn);
	if (rc < 0 || upgrade_make_main(ctx, upgrade.new) < 0 ||
		record_enter(ctx, &record, RECORD_DONE) < 0)
		return -1;
	json_object_set_new(result, "version", json_integer(upgrade.to));
	json_object_set_new(result, "started_ms", json_real(clock_realtime_ms()));
	return 0;
}

static int
refuse_opened(ActionContext *ctx)
{
	return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					   "the new server is not sealed by this run any more: it may have taken writes");
}

/* After it the record says "crossing" again: the new directory may be emptied, since its server wrote for nobody. */
int
action_upgrade_halt(ActionContext *ctx, json_t *params, json_t *result)
{
	UpgradeRecord record;
	Upgrade		upgrade;

	(void) result;
	if (open_own(ctx, params, &upgrade, &record) < 0)
		return -1;
	if (record.state < RECORD_STARTED)
		return 0;
	record.ran |= upgrade_takes_files(&upgrade) &&
		(control_running(upgrade.new) || !has_never_run(&upgrade, &record));
	if (record.ran && record.snapshot != SNAPSHOT_TAKEN)
	{
		(void) upgrade_make_main(ctx, upgrade.new); /* it is the only one that there is */
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "there is no way back: the new server was started on the files of the old one");
	}
	if (!may_halt(&upgrade, &record))
		return refuse_opened(ctx);
	if (end_servers(&upgrade) < 0)
		return -1;
	if (!may_halt(&upgrade, &record))	/* lifted in this moment: it may have taken writes */
	{
		ActionContext on = upgrade_on(&upgrade, upgrade.new);

		control_start(&on);
		return refuse_opened(ctx);
	}
	boot_leave(upgrade.new, ctx->run);	/* it may not have become the main one yet */
	if (upgrade_make_main(ctx, upgrade.old) < 0)
		return -1;
	return record_enter(ctx, &record, RECORD_CROSSING);
}

/* ---- behind the window ---- */

int
action_upgrade_statistics(ActionContext *ctx, json_t *params, json_t *result)
{
	char	   *program = bin_path(ctx->pg, "vacuumdb");
	char	   *port = xasprintf("--port=%d", ctx->pg->port);
	char	   *host = xasprintf("--host=%s", ctx->pg->socket);
	char	   *user = xasprintf("--username=%s", ctx->pg->superuser);
	char	   *jobs = xasprintf("--jobs=%d", (int) param_int(params, "jobs", 1));
	ChildOptions options = {.timeout_ms = (int) param_int(params, "timeout_ms", RUN_TIMEOUT_MS)};
	double		began = clock_monotonic_ms();
	bool		carried = version_major(ctx->pg) >= 18;	/* pg_upgrade carries them: only what is missing, first */
	char	   *stages[] = {program, host, port, user, jobs, "--all", "--analyze-in-stages",
	carried ? "--missing-stats-only" : NULL, NULL};
	char	   *all[] = {program, host, port, user, jobs, "--all", "--analyze-only", NULL};
	int			rc = child_run_or_fail(ctx, stages, &options);

	if (rc == 0 && carried)
		rc = child_run_or_fail(ctx, all, &options);
	if (rc == 0)
		json_object_set_new(result, "statistics_ms", json_real(clock_monotonic_ms() - began));
	free(jobs);
	free(user);
	free(host);
	free(port);
	free(program);
	return rc;
}
