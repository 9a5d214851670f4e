/*
 * back.c
 *		The way back behind the opening, by order, and the end of it.
 *
 * The run that orders it seals the new server first, so that nothing is acknowledged and lost which nobody was asked
 * about. It cannot see its own end: its journal goes down with the new server. What the old server's worker finds is
 * the run of the upgrade, undone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/log.h"
#include "agent/job/jobs.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/datadir.h"
#include "agent/pg/paths.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "agent/upgrade/back.h"
#include "agent/upgrade/cross.h"
#include "agent/upgrade/folder.h"
#include "agent/upgrade/place.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/snapshot.h"
#include "agent/upgrade/upgrade.h"
#include "common/names.h"
#include "common/sqlstate.h"

#define STOP_TIMEOUT_MS 600000
#define CLAIM_TIMEOUT_MS 60000

static int
refuse(ActionContext *ctx, const char *what)
{
	return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "%s", what);
}

/* A standby that was made anew by a later run remembers that one; one that came later remembers nothing. */
static int
read_of(ActionContext *ctx, json_t *params, UpgradeRecord *record)
{
	const char *of = param_string(params, "of", "");

	if (record_open(ctx, record) < 0)
		return -1;
	if (record->state != RECORD_NONE && strcmp(record->run, of) == 0)
		return 0;
	if (param_bool(params, "standby", false) &&
		(record->state == RECORD_NONE || strcmp(record->mode, upgrade_mode_name(UPGRADE_STANDBY)) == 0))
		return 0;
	return refuse(ctx, "this host does not remember that upgrade");
}

/*
 * Calls the function with the record as it is under the claim: it is read, changed and written by one job at a time.
 * By the folder, which whoever prepares or discards has, too.
 */
static int
with_claim(ActionContext *ctx, json_t *params, json_t *result,
		   int (*function) (ActionContext *ctx, json_t *params, UpgradeRecord *record, json_t *result))
{
	UpgradeRecord record;
	char		place[sizeof(record.new_data)];
	int			rc;

	if (read_of(ctx, params, &record) < 0)
		return -1;
	memcpy(place, record.new_data, sizeof(place));
	if (server_claim_wait(ctx, place, CLAIM_TIMEOUT_MS) < 0)
		return -1;
	rc = read_of(ctx, params, &record);
	if (rc == 0)
		rc = function(ctx, params, &record, result);
	server_release(place);
	return rc;
}

/* ---- may it go back? ---- */

static bool
is_sealed_by(const PgInstance *pg, const DataDir *dir, const char *by)
{
	char		run[80] = "";
	unsigned long long lsn;

	return seal_read(pg->data, dir, run, sizeof(run), &lsn) && strcmp(run, by) == 0;
}

/* Which servers the record means, seen by the upgrade's own run: the actions of cross.h work for that. */
static int
open_as(ActionContext *as, const UpgradeRecord *record, json_t **params, Upgrade *upgrade)
{
	as->run = record->run;
	*params = json_pack("{s:s}", "mode", record->mode);
	return upgrade_open(as, *params, upgrade);
}

static int
check_way(ActionContext *ctx, const Upgrade *upgrade, const UpgradeRecord *record)
{
	DataDir		old = datadir_look(upgrade->old->data);

	if (record->clearing)
		return refuse(ctx, "there is no way back: what it needs is being cleared away");
	if (strchr(upgrade->old->section, '.') && !upgrade->old->successor)
	{
		action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is no way back: [%s] has no \"successor = yes\"",
					upgrade->old->section);
		action_hint(ctx, "Write it into the agent's configuration: it has the place of the main one, too.");
		return -1;
	}
	if (upgrade_takes_files(upgrade) && record->snapshot == SNAPSHOT_TAKEN)
		return upgrade_snapshot_ready(upgrade, record);
	if (upgrade_takes_files(upgrade))
		return refuse(ctx, "there is no way back: the new server runs on the files of the old one");
	if (!old.known || !old.startable || old.state != DATA_SHUTDOWNED)
		return refuse(ctx, "there is no way back: the old data directory is not as the upgrade has left it");
	if (!is_sealed_by(upgrade->old, &old, record->run))
		return refuse(ctx, "there is no way back: the old data directory is not sealed by the upgrade");
	return 0;
}

/* Nobody writes to the new server any more. When it is down already, its directory tells. */
static int
check_sealed(ActionContext *ctx, const Upgrade *upgrade)
{
	DataDir		dir = datadir_look(upgrade->new->data);

	if (dir.known && is_sealed_by(upgrade->new, &dir, ctx->run))
		return 0;
	return refuse(ctx, "the new server is not sealed by this run");
}

/* ---- back ---- */

/* Down in good order first, so that what it wrote can be read without a recovery. */
static int
stop_new(const Upgrade *upgrade)
{
	ActionContext on = upgrade_on(upgrade, upgrade->new);

	return control_running(upgrade->new) ? control_stop(&on, false, STOP_TIMEOUT_MS) : 0;
}

/* In an earlier life of this agent it may have been told to go down. */
static bool
goes_down(const PgInstance *pg)
{
	return control_running(pg) && strcmp(pidfile_read(pg->data).status, "stopping") == 0;
}

/*
 * It did not go back. The new server is started again, still sealed: its worker opens it when it has asked us. Only
 * if it is the one that this run has sealed: a snapshot may have brought back what was there before it had any data.
 * The job's error stays. The record is that of before, or upgrade.keep would take the old server for the one that
 * serves.
 */
static void
start_new(ActionContext *ctx, const Upgrade *upgrade)
{
	ActionContext on = upgrade_on(upgrade, upgrade->new);
	UpgradeRecord record;

	if (goes_down(upgrade->new) && stop_new(upgrade) < 0)
		return;
	if (control_running(upgrade->old) || control_running(upgrade->new) || check_sealed(ctx, upgrade) < 0)
		return;
	if (record_open(ctx, &record) < 0 ||
		(record.state < RECORD_CROSSING && record_enter(ctx, &record, RECORD_CROSSING) < 0) ||
		upgrade_make_main(&on, upgrade->new) < 0 || control_start(&on) < 0)
		log_error("upgrade: the new server could not be started again");
}

/*
 * The old server's worker asks for that job first. Before anything is stopped, since it may fail; where it comes to
 * nothing the job is only a memory: the new server's worker has its answer, and does not ask again.
 */
static int
retract(ActionContext *ctx, const UpgradeRecord *record)
{
	if (jobs_retract(ctx->config, record->run, ACTION_UPGRADE_RUN, "it was taken back by order") == 0)
		return 0;
	return action_fail(ctx, STATE_IO_ERROR, "could not write the job journal: %s", strerror(errno));
}

/* What may fail comes before the new server is stopped. */
static int
begin_back(ActionContext *ctx, const Upgrade *upgrade, UpgradeRecord *record)
{
	bool		again = strcmp(record->back, ctx->run) == 0;

	if (record->state < RECORD_CROSSING)
		return 0;				/* an earlier life of this agent was further */
	snprintf(record->back, sizeof(record->back), "%s", ctx->run);
	if (!again && (upgrade_ready_main(ctx) < 0 || retract(ctx, record) < 0 || record_keep(ctx, record) < 0))
		return -1;
	return stop_new(upgrade);
}

static int
go_back(ActionContext *ctx, ActionContext *as, json_t *params, const Upgrade *upgrade, UpgradeRecord *record,
		json_t *result)
{
	/* behind the halt the new server is down, and was sealed */
	if (record->state >= RECORD_STARTED && check_sealed(ctx, upgrade) < 0)
		return -1;
	if (begin_back(ctx, upgrade, record) == 0 && action_upgrade_halt(as, params, result) == 0 &&
		action_upgrade_revert(as, params, result) == 0 && action_upgrade_serve(as, params, result) == 0)
		return 0;
	start_new(ctx, upgrade);
	return -1;
}

static int
back(ActionContext *ctx, json_t *params, UpgradeRecord *record, json_t *result)
{
	ActionContext as = *ctx;
	json_t	   *its = NULL;
	Upgrade		upgrade;
	bool		again = strcmp(record->back, ctx->run) == 0;	/* resumed by a later agent */
	int			rc;

	if (record->state != RECORD_DONE && !(again && record->state != RECORD_FINAL))
		return refuse(ctx, "the upgrade has not ended, or was taken back");
	rc = open_as(&as, record, &its, &upgrade);
	if (rc == 0 && !again)
		rc = check_way(ctx, &upgrade, record);
	if (rc == 0 && !param_bool(params, "check", false))
		rc = go_back(ctx, &as, its, &upgrade, record, result);
	json_decref(its);
	return rc;
}

int
action_upgrade_back(ActionContext *ctx, json_t *params, json_t *result)
{
	return with_claim(ctx, params, result, back);
}

static int
keep(ActionContext *ctx, json_t *params, UpgradeRecord *record, json_t *result)
{
	ActionContext as = *ctx;
	json_t	   *its = NULL;
	Upgrade		upgrade;
	int			rc;

	(void) params;
	(void) result;
	if (record->state < RECORD_CROSSING)
		return refuse(ctx, "the old server is the one that serves");
	rc = open_as(&as, record, &its, &upgrade);
	if (rc == 0 && record->back[0])
	{
		rc = upgrade_make_main(ctx, upgrade.new);
		record->back[0] = '\0';
		if (rc == 0)
			rc = record_enter(ctx, record, record->state < RECORD_DONE ? RECORD_DONE : record->state);
	}
	json_decref(its);
	return rc;
}

int
action_upgrade_keep(ActionContext *ctx, json_t *params, json_t *result)
{
	return with_claim(ctx, params, result, keep);
}

/* ---- the end of it ---- */

static int
check_left_over(ActionContext *ctx, const char *path)
{
	DataDir		dir = datadir_look(path);
	DataDir		serves = datadir_look(ctx->pg->data);

	if (strcmp(path, ctx->pg->data) == 0)
		return refuse(ctx, "that data directory is the one of the main server");
	if (postmaster_pid(path) != 0)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "a server runs in \"%s\"", path);
	if (folder_is_empty(path))
		return 0;
	if (!control_running(ctx->pg) || !serves.known)
		return refuse(ctx, "the main server does not run: nothing is removed");
	/* what is half removed is gone on with */
	if (dir.known && dir.system == serves.system)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" is of the cluster that serves", path);
	return 0;
}

static int
drop_snapshot(ActionContext *ctx, UpgradeRecord *record)
{
	ActionContext as = *ctx;
	json_t	   *its = NULL;
	Upgrade		upgrade;
	int			rc = record->snapshot == SNAPSHOT_NONE ? 0 : open_as(&as, record, &its, &upgrade) < 0 ? -1 :
		upgrade_snapshot_drop(&upgrade, record);

	json_decref(its);
	return rc;
}

/* Of a new server that was given up all is ours; that of an old one a person has made: pg_dropcluster removes it. */
static int
clear_configuration(ActionContext *ctx, const UpgradeRecord *record, const char *path, json_t *result)
{
	int			rc = 0;

	for (int i = 0; rc == 0 && i < ctx->config->n_instances; i++)
	{
		const PgInstance *pg = &ctx->config->instances[i];

		if (strcmp(pg->data, path) != 0 || !config_is_elsewhere(pg))
			continue;
		if (record->state == RECORD_DONE)
			json_object_set_new(result, "message", json_sprintf("emptied \"%s\"; pg_dropcluster may remove the rest "
																"of cluster %s", path, pg->cluster));
		else if (place_clear(pg) < 0)
			rc = action_fail(ctx, STATE_IO_ERROR, "could not remove the configuration of cluster %s: %s", pg->cluster,
							 strerror(errno));
	}
	return rc;
}

/* That it clears away is on disk before it does: what is half removed is no way back. */
static int
finalize(ActionContext *ctx, json_t *params, UpgradeRecord *record, json_t *result)
{
	const char *path = record_left_over(record);

	(void) params;
	json_object_set_new(result, "message", path ? json_sprintf("emptied \"%s\"", path) :
						json_string("there was nothing"));
	if (path && check_left_over(ctx, path) < 0)
		return -1;
	if (record->state == RECORD_NONE)
		return 0;
	record->clearing = true;
	if (record_keep(ctx, record) < 0 || drop_snapshot(ctx, record) < 0)
		return -1;
	if (!path)
		return 0;
	action_progress(ctx, -1, "removing what is in \"%s\"", path);
	if (folder_clear(ctx, path, ctx->pg->data) < 0 || clear_configuration(ctx, record, path, result) < 0)
		return -1;
	return record_enter(ctx, record, RECORD_FINAL);
}

int
action_upgrade_finalize(ActionContext *ctx, json_t *params, json_t *result)
{
	return with_claim(ctx, params, result, finalize);
}
