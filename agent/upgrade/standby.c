/*
 * standby.c
 *		The standby of an upgraded primary.
 *
 * Its new server is made in the successor's folder, from a copy of the new primary and the configuration of the old
 * standby. Both have one port: the old server is stopped when the copy is complete, and started again if the new one
 * does not stream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/datadir.h"
#include "agent/pg/layout.h"
#include "agent/pg/pg.h"
#include "agent/pg/standby.h"
#include "agent/pg/stop.h"
#include "agent/pg/version.h"
#include "agent/rejoin/run.h"
#include "agent/rejoin/source.h"
#include "agent/upgrade/prepare.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/standby.h"
#include "agent/upgrade/upgrade.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 10000
#define ASK_TIMEOUT_MS 10000
#define STOP_TIMEOUT_MS 120000
#define REMAINS_TIMEOUT_MS 20000

/* ---- the old server ---- */

/* A server that is a primary by now is not stopped: somebody has promoted it. */
static int
check_is_standby(ActionContext *on)
{
	PGconn	   *conn = pg_local(on->pg, NULL, QUERY_TIMEOUT_MS, NULL, 0);
	bool		is_standby = conn ? pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()") :
		file_exists_in(on->pg->data, "standby.signal");

	PQfinish(conn);
	return is_standby ? 0 : action_fail(on, STATE_NOT_IN_PREREQUISITE_STATE,
										"the server of node \"%s\" is no standby", on->config->node);
}

static int
make_way(void *argument)
{
	const Upgrade *upgrade = argument;
	ActionContext on = upgrade_on(upgrade, upgrade->old);

	if (!control_running(upgrade->old))
		return 0;
	if (check_is_standby(&on) < 0)
		return -1;
	action_progress(&on, -1, "stopping the server of version %d", upgrade->from);
	if (control_stop(&on, false, STOP_TIMEOUT_MS) < 0)
		return -1;
	return server_await_remains(&on, clock_monotonic_ms() + REMAINS_TIMEOUT_MS);
}

/* As it was: with old data it is of use to readers, and where the new one does not come. */
static void
give_back(const Upgrade *upgrade)
{
	ActionContext new = upgrade_on(upgrade, upgrade->new);
	ActionContext old = upgrade_on(upgrade, upgrade->old);

	if (control_running(upgrade->old) || !file_exists_in(upgrade->old->data, "standby.signal"))
		return;
	if (control_stop(&new, false, STOP_TIMEOUT_MS) == 0 &&
		server_await_remains(&new, clock_monotonic_ms() + REMAINS_TIMEOUT_MS) == 0 && control_start(&old) == 0)
		log_info("upgrade: the standby of version %d was started again", upgrade->from);
}

/* ---- the new one ---- */

/* Its system identifier, or "". */
static void
system_in(const PgInstance *pg, char *text, size_t size)
{
	DataDir		dir = datadir_look(pg->data);

	text[0] = '\0';
	if (dir.known)
		snprintf(text, size, "%llu", (unsigned long long) dir.system);
}

/*
 * A copy of that primary is gone on with. Else the folder holds the cluster that this run has prepared, or nothing.
 * `blank` gets the identifier of a cluster that the copy replaces.
 */
static int
ready_folder(const Upgrade *upgrade, json_t *params, json_t *result, const char *source, char *blank, size_t size)
{
	UpgradeRecord record;
	char		there[24];

	blank[0] = '\0';
	system_in(upgrade->new, there, sizeof(there));
	/* a copy, or one that was broken off while it was put in place */
	if (strcmp(there, source) == 0 || (!there[0] && layout_has_work(upgrade->new)))
		return 0;
	if (record_open(upgrade->ctx, &record) < 0)
		return -1;
	if (record.state != RECORD_PREPARED || !record_is_own(upgrade->ctx, &record) || !there[0] ||
		strcmp(record.system, there) != 0)
	{
		if (upgrade_prepare_standby(upgrade, params, result) < 0)
			return -1;
		system_in(upgrade->new, there, sizeof(there));
	}
	snprintf(blank, size, "%s", there);
	return 0;
}

/*
 * Which of the two servers of the record is the main one. That of before is it where a primary was taken back, and
 * its standby goes back with it. Looked at in each rejoin: an earlier life of this agent may have died before it
 * noted it.
 */
static int
note_main(ActionContext *ctx, const PgInstance *pg)
{
	UpgradeRecord record;

	if (record_open(ctx, &record) < 0)
		return -1;
	if (strcmp(record.mode, upgrade_mode_name(UPGRADE_STANDBY)) != 0)
		return 0;
	if (record.state == RECORD_PREPARED && strcmp(record.new_data, pg->data) == 0)
		return record_enter(ctx, &record, RECORD_DONE);
	if (record.state != RECORD_DONE || strcmp(record.old_data, pg->data) != 0)
		return 0;
	snprintf(record.back, sizeof(record.back), "%s", ctx->run);
	return record_enter(ctx, &record, RECORD_REVERTED);
}

static int
succeed(Upgrade *upgrade, json_t *params, json_t *result, const char *source)
{
	ActionContext on = upgrade_on(upgrade, upgrade->new);
	char		blank[24];
	RejoinHeir	heir = {upgrade->old->data, blank, make_way, upgrade};

	if (ready_folder(upgrade, params, result, source, blank, sizeof(blank)) < 0 ||
		rejoin_heir(&on, params, result, &heir) < 0)
	{
		give_back(upgrade);
		return -1;
	}
	return upgrade_make_main(upgrade->ctx, upgrade->new) < 0 ? -1 : note_main(upgrade->ctx, upgrade->new);
}

/* ---- which way ---- */

static int
ask_source(ActionContext *ctx, json_t *params, Source *source)
{
	Upstream	upstream;
	int			rc;

	*source = (Source) {.upstream = &upstream, .deadline = clock_monotonic_ms() + ASK_TIMEOUT_MS};
	rc = upstream_read(ctx, params, &upstream) < 0 ? -1 : source_inspect(ctx, source);
	free(source->history);
	return rc;
}

int
action_upgrade_rejoin(ActionContext *ctx, json_t *params, json_t *result)
{
	Upgrade		upgrade;
	Source		source;

	if (!upgrade_has_successor(ctx))
		return action_pg_rejoin(ctx, params, result);
	if (ask_source(ctx, params, &source) < 0)
		return -1;
	if (source.major == version_major(ctx->pg))
		return note_main(ctx, ctx->pg) < 0 ? -1 : action_pg_rejoin(ctx, params, result);
	if (upgrade_open_standby(ctx, source.major, &upgrade) < 0)
		return -1;
	return succeed(&upgrade, params, result, source.system);
}
