/*
 * prepare.c
 *		Before the window: the new cluster, its configuration, and pg_upgrade --check.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/datadir.h"
#include "agent/pg/layout.h"
#include "agent/pg/layout_mark.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/stop.h"
#include "agent/upgrade/folder.h"
#include "agent/upgrade/leftover.h"
#include "agent/upgrade/newconf.h"
#include "agent/upgrade/options.h"
#include "agent/upgrade/place.h"
#include "agent/upgrade/prepare.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/snapshot.h"
#include "agent/upgrade/suits.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 60000
#define INITDB_TIMEOUT_MS 600000
#define CHECK_TIMEOUT_MS 1800000
#define STOP_TIMEOUT_MS 20000
#define CLAIM_TIMEOUT_MS 60000
#define SERVER_OPTIONS "-c archive_mode=off -c max_logical_replication_workers=0"

/* ---- the new folder ---- */

/* Why it failed is in there. On another file system it is lost; the job has its last words. */
static void
keep_logs(const Upgrade *upgrade)
{
	char	   *from = data_path(upgrade->new, UPGRADE_LOGS);
	char	   *folder = upgrade_work_folder(upgrade);
	char	   *to = xasprintf("%s/" UPGRADE_LOGS, folder);

	if (file_exists(from) && remove_tree(to) == 0 && rename(from, to) < 0)
		log_warning("could not keep \"%s\": %s", from, strerror(errno));
	free(to);
	free(folder);
	free(from);
}

/* Somebody may have made a cluster of their own there meanwhile. */
static int
check_is_ours(const Upgrade *upgrade, const UpgradeRecord *record)
{
	DataDir		dir = datadir_look(upgrade->new->data);
	char		system[24];

	snprintf(system, sizeof(system), "%llu", (unsigned long long) dir.system);
	if (!dir.known || strcmp(system, record->system) == 0)
		return 0;
	if (!record->system[0] && strcmp(record->run, upgrade->ctx->run) == 0)
		return 0;				/* initdb of this run was broken off */
	action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
				"\"%s\" holds a cluster that this upgrade has not made", upgrade->new->data);
	action_hint(upgrade->ctx, "Move it away, or name another folder in the agent's configuration.");
	return -1;
}

int
upgrade_empty_new(const Upgrade *upgrade, const UpgradeRecord *record)
{
	ActionContext on = upgrade_on(upgrade, upgrade->new);

	if (check_is_ours(upgrade, record) < 0 || leftover_end_all(upgrade) < 0)
		return -1;
	if (file_exists(upgrade->new->data) &&
		(control_stop(&on, true, STOP_TIMEOUT_MS) < 0 ||
		 server_await_remains(&on, clock_monotonic_ms() + STOP_TIMEOUT_MS) < 0))
		return -1;
	keep_logs(upgrade);
	if (layout_has_work(upgrade->new))
		layout_clean_up(&on);	/* of a copy that was broken off: it is in tablespaces, too */
	if (folder_clear(upgrade->ctx, upgrade->new->data, upgrade->old->data) < 0)
		return -1;
	if (place_clear(upgrade->new) < 0)
		return action_fail(upgrade->ctx, STATE_IO_ERROR, "could not remove the configuration of cluster %s: %s",
						   upgrade->new->cluster, strerror(errno));
	return 0;
}

void
upgrade_give_up_new(const Upgrade *upgrade, const UpgradeRecord *record)
{
	if (upgrade_empty_new(upgrade, record) == 0)
		return;
	log_warning("upgrade: \"%s\" is left as it is: %s", upgrade->new->data, action_error_message(upgrade->ctx));
	action_forget_error(upgrade->ctx);
}

/* Nothing of anybody else is emptied: only what the record says that we have made. */
static int
take_folder(const Upgrade *upgrade)
{
	ActionContext *ctx = upgrade->ctx;
	UpgradeRecord record;

	if (record_open(ctx, &record) < 0)
		return -1;
	if (record.state == RECORD_STARTED && strcmp(record.new_data, ctx->pg->data) == 0)
		record.state = RECORD_DONE; /* the new server has become the main one, whatever came behind it */
	if (record.state == RECORD_STARTED || record.state == RECORD_CROSSING)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the upgrade of run \"%s\" has not ended",
						   record.run);
	if (record.state == RECORD_DONE || (record.back[0] && record.state != RECORD_FINAL))
	{
		action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "what an earlier upgrade has left is not cleared away");
		action_detail(ctx, "It is remembered by the key of its run, \"%s\".", record.run);
		action_hint(ctx, "Run pingpong.finalize() for that run.");
		return -1;
	}
	/* the record is about to be another one's, and would be the only one that knows of a snapshot */
	if (upgrade_snapshot_drop(upgrade, &record) < 0 ||
		(record.state == RECORD_PREPARED && strcmp(record.new_data, upgrade->new->data) == 0 &&
		 upgrade_empty_new(upgrade, &record) < 0))
		return -1;
	if (postmaster_pid(upgrade->new->data) != 0)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "a server runs in \"%s\"", upgrade->new->data);
	if (action_cancelled(ctx))	/* behind the record it would have to be discarded, and that may be over */
		return action_fail(ctx, STATE_CANCELED, "the job was cancelled");
	if (folder_is_empty(upgrade->new->data))
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" is not empty", upgrade->new->data);
	action_hint(ctx, "It is to be the data directory of the new server. Look at what is in it, and empty it.");
	return -1;
}

static int
remember(const Upgrade *upgrade)
{
	DataDir		dir = datadir_look(upgrade->new->data);
	UpgradeRecord record = {.state = RECORD_PREPARED};

	if (dir.known)
		snprintf(record.system, sizeof(record.system), "%llu", (unsigned long long) dir.system);
	snprintf(record.run, sizeof(record.run), "%s", upgrade->ctx->run);
	snprintf(record.mode, sizeof(record.mode), "%s", upgrade_mode_name(upgrade->mode));
	if (strlen(upgrade->old->data) >= sizeof(record.old_data) ||
		strlen(upgrade->new->data) >= sizeof(record.new_data))
		return action_fail(upgrade->ctx, STATE_LIMIT_EXCEEDED, "the path of a data directory is too long");
	strcpy(record.old_data, upgrade->old->data);
	strcpy(record.new_data, upgrade->new->data);
	return record_keep(upgrade->ctx, &record);
}

/* ---- initdb ---- */

/* template0 has what initdb was told. */
static int
add_locale(const Upgrade *upgrade, PGconn *conn, char ***argv)
{
	static const char sql[] =
		"SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype, datlocprovider, "
		"coalesce(pg_catalog.to_jsonb(d) ->> 'datlocale', pg_catalog.to_jsonb(d) ->> 'daticulocale', '') "
		"FROM pg_catalog.pg_database d WHERE datname = 'template0'";
	PGresult   *res = pg_query_or_fail(upgrade->ctx, conn, sql, 0, NULL);
	char		provider;

	if (!res || PQntuples(res) != 1)
	{
		PQclear(res);
		return action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is no database \"template0\"");
	}
	provider = PQgetvalue(res, 0, 3)[0];
	text_append(argv, xasprintf("--encoding=%s", PQgetvalue(res, 0, 0)));
	text_append(argv, xasprintf("--lc-collate=%s", PQgetvalue(res, 0, 1)));
	text_append(argv, xasprintf("--lc-ctype=%s", PQgetvalue(res, 0, 2)));
	text_append(argv, xasprintf("--locale-provider=%s",
								provider == 'i' ? "icu" : provider == 'b' ? "builtin" : "libc"));
	if (provider != 'c')
		text_append(argv, xasprintf("--%s-locale=%s", provider == 'i' ? "icu" : "builtin", PQgetvalue(res, 0, 4)));
	PQclear(res);
	return 0;
}

/* From 18 on checksums are the default. */
static int
add_format(const Upgrade *upgrade, PGconn *conn, char ***argv)
{
	char	   *segment = pg_value(conn, "SELECT setting::bigint / 1048576 FROM pg_catalog.pg_settings "
								   "WHERE name = 'wal_segment_size'");
	char	   *owner = pg_value(conn, "SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10");
	struct stat st;
	int			rc = segment && owner ? 0 : pg_fail(upgrade->ctx, conn, NULL, "the format of the cluster");

	if (rc == 0)
	{
		text_append(argv, xasprintf("--wal-segsize=%s", segment));
		text_append(argv, xasprintf("--username=%s", owner));
	}
	if (pg_is_true(conn, "SELECT pg_catalog.current_setting('data_checksums')::boolean"))
		text_append(argv, xstrdup("--data-checksums"));
	else if (upgrade->to >= 18)
		text_append(argv, xstrdup("--no-data-checksums"));
	if (stat(upgrade->old->data, &st) == 0 && (st.st_mode & 0050) == 0050)
		text_append(argv, xstrdup("--allow-group-access"));
	free(owner);
	free(segment);
	return rc;
}

static int
make_cluster(const Upgrade *upgrade, PGconn *conn)
{
	ChildOptions options = {.timeout_ms = INITDB_TIMEOUT_MS};
	char	  **argv = NULL;
	int			rc;

	action_progress(upgrade->ctx, -1, "making a cluster of version %d", upgrade->to);
	text_append(&argv, bin_path(upgrade->new, "initdb"));
	text_append(&argv, xasprintf("--pgdata=%s", upgrade->new->data));
	text_append(&argv, xstrdup("--no-sync"));	/* pg_upgrade syncs all of it */
	rc = add_locale(upgrade, conn, &argv) < 0 || add_format(upgrade, conn, &argv) < 0 ? -1 :
		child_run_or_fail(upgrade->ctx, argv, &options);
	text_free_list(argv);
	return rc;
}

/* ---- pg_upgrade ---- */

/* It leaves scripts in its working directory. Logs of its steps are in the new data directory while it fails. */
int
upgrade_run_tool(const Upgrade *upgrade, bool check, int timeout_ms)
{
	char	   *folder = upgrade_work_folder(upgrade);
	ChildOptions options = {.timeout_ms = timeout_ms, .directory = folder};
	char	   *old = newconf_options_of_old(upgrade);
	char	   *new = newconf_options_of_new(upgrade);
	char	  **argv = NULL;
	int			rc;

	text_append(&argv, bin_path(upgrade->new, "pg_upgrade"));
	text_append(&argv, xasprintf("--old-bindir=%s", upgrade->old->bin));
	text_append(&argv, xasprintf("--new-bindir=%s", upgrade->new->bin));
	text_append(&argv, xasprintf("--old-datadir=%s", upgrade->old->data));
	text_append(&argv, xasprintf("--new-datadir=%s", upgrade->new->data));
	text_append(&argv, xasprintf("--old-port=%d", check ? upgrade->old->port : UPGRADE_PORT_OF_OLD));
	text_append(&argv, xasprintf("--new-port=%d", UPGRADE_PORT_OF_NEW));
	text_append(&argv, xasprintf("--socketdir=%s", upgrade->new->socket));
	text_append(&argv, xasprintf("--username=%s", upgrade->old->superuser));
	text_append(&argv, xasprintf("--jobs=%d", upgrade->jobs));
	/* they must not write into the archive, nor apply what is published, nor need as much memory as the one here */
	text_append(&argv, xasprintf("--old-options=" SERVER_OPTIONS "%s", old));
	text_append(&argv, xasprintf("--new-options=" SERVER_OPTIONS "%s -c huge_pages=off -c shared_buffers=128MB",
								 new));
	if (upgrade->mode != UPGRADE_COPY)
		text_append(&argv, xasprintf("--%s", upgrade_mode_name(upgrade->mode)));
	if (check)
		text_append(&argv, xstrdup("--check"));
	rc = make_directory(folder, 0700) < 0 ?
		action_fail(upgrade->ctx, STATE_IO_ERROR, "could not make \"%s\": %s", folder, strerror(errno)) :
		child_run_or_fail(upgrade->ctx, argv, &options);
	text_free_list(argv);
	free(new);
	free(old);
	free(folder);
	return rc;
}

/* ---- the actions ---- */

/* Two steps of a run may be undone by discarding, and what is to be discarded may still be made. */
static int
claim(const Upgrade *upgrade)
{
	return server_claim_wait(upgrade->ctx, upgrade->new->data, CLAIM_TIMEOUT_MS);
}

static int
make_new(const Upgrade *upgrade, PGconn *conn)
{
	return upgrade_ready_main(upgrade->ctx) < 0 || take_folder(upgrade) < 0 || record_reserve(upgrade->ctx) < 0 ||
		remember(upgrade) < 0 || make_cluster(upgrade, conn) < 0 || remember(upgrade) < 0 ? -1 : 0;
}

static int
prepare(const Upgrade *upgrade, PGconn *conn, json_t *params, json_t *result)
{
	if (upgrade_suits(upgrade, conn, json_object_get(params, "standbys")) < 0 || make_new(upgrade, conn) < 0 ||
		options_known(upgrade, conn) < 0 ||
		newconf_write(upgrade, conn, json_object_get(params, "carry"), result) < 0)
		return -1;
	action_progress(upgrade->ctx, -1, "pg_upgrade --check");
	return upgrade_run_tool(upgrade, true, CHECK_TIMEOUT_MS);
}

/*
 * A standby's new server is a copy of the new primary, with the configuration of this one: it is tried in a cluster
 * that the copy will replace.
 */
static int
prepare_standby(const Upgrade *upgrade, PGconn *conn, json_t *params, json_t *result)
{
	return upgrade_suits_standby(upgrade, conn) < 0 || make_new(upgrade, conn) < 0 ||
		newconf_write(upgrade, conn, json_object_get(params, "carry"), result) < 0 ? -1 : 0;
}

int
upgrade_prepare_standby(const Upgrade *upgrade, json_t *params, json_t *result)
{
	PGconn	   *conn;
	int			rc;

	if (claim(upgrade) < 0)
		return -1;
	conn = pg_local_or_fail(upgrade->ctx, NULL, QUERY_TIMEOUT_MS);
	rc = conn ? prepare_standby(upgrade, conn, params, result) : -1;
	PQfinish(conn);
	server_release(upgrade->new->data);
	return rc;
}

int
action_upgrade_prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	Upgrade		upgrade;
	PGconn	   *conn;
	int			rc;

	if (upgrade_open(ctx, params, &upgrade) < 0 || claim(&upgrade) < 0)
		return -1;
	conn = pg_local_or_fail(ctx, NULL, QUERY_TIMEOUT_MS);
	if (!conn)
		rc = -1;
	else if (pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()"))
	{
		upgrade.mode = UPGRADE_STANDBY;
		rc = prepare_standby(&upgrade, conn, params, result);
	}
	else
		rc = prepare(&upgrade, conn, params, result);
	PQfinish(conn);
	server_release(upgrade.new->data);
	if (rc == 0)
		json_object_set_new(result, "from_version", json_integer(upgrade.from));
	return rc;
}

/* It has followed a primary that was taken back since: where it belongs now a rebuild finds. */
static bool
standby_is_done(const UpgradeRecord *record)
{
	return record->state == RECORD_DONE && strcmp(record->mode, upgrade_mode_name(UPGRADE_STANDBY)) == 0;
}

/* The old server waits for this to take writes again: what cannot be removed is left, for finalize. */
static void
drop_snapshot(const Upgrade *upgrade, UpgradeRecord *record)
{
	if (upgrade_snapshot_drop(upgrade, record) == 0)
		return;
	log_warning("upgrade: the snapshot of the old server could not be removed: %s",
				action_error_message(upgrade->ctx));
	action_forget_error(upgrade->ctx);
}

/* The claim is held, and the record is of this run. */
static int
discard(const Upgrade *upgrade)
{
	ActionContext *ctx = upgrade->ctx;
	UpgradeRecord record;

	if (record_open(ctx, &record) < 0)
		return -1;
	if (record.state == RECORD_DISCARDED || standby_is_done(&record))
		return 0;
	if (record.state >= RECORD_CROSSING)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the upgrade has begun, and is not undone");
	if (record.state == RECORD_PREPARED)
		upgrade_give_up_new(upgrade, &record);
	if (record_enter(ctx, &record, RECORD_DISCARDED) < 0)
		return -1;
	drop_snapshot(upgrade, &record);
	return 0;
}

int
action_upgrade_discard(ActionContext *ctx, json_t *params, json_t *result)
{
	UpgradeRecord record;
	Upgrade		upgrade;
	bool		known;
	int			rc;

	if (record_open(ctx, &record) < 0)
		return -1;
	known = record_is_own(ctx, &record);
	json_object_set_new(result, "known", json_boolean(known));
	if (!known)
		return 0;				/* what is to be discarded has ended: protocol_undoes() */
	if (upgrade_open(ctx, params, &upgrade) < 0 || claim(&upgrade) < 0)
		return -1;
	rc = discard(&upgrade);
	server_release(upgrade.new->data);
	return rc;
}
