/*
 * suits.c
 *		What stands against an upgrade: found by trying, where that is possible.
 *
 * pg_upgrade --check does not find all of it: two directories on different devices are only found when the files are
 * linked, with the old server down.
 */
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/job/params.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/version.h"
#include "agent/upgrade/place.h"
#include "agent/upgrade/snapshot.h"
#include "agent/upgrade/suits.h"
#include "common/sqlstate.h"

#define CATALOG_BYTES (512LL * 1024 * 1024) /* a new cluster with its WAL, and room to work */

static int
refuse(ActionContext *ctx, const char *message, const char *hint)
{
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "%s", message);
	action_hint(ctx, "%s", hint);
	return -1;
}

/* ---- the server ---- */

static int
check_server(const Upgrade *upgrade, PGconn *conn)
{
	ActionContext *ctx = upgrade->ctx;

	if (pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()"))
		return refuse(ctx, "the server is a standby", "Upgrade the primary; a standby is built anew from it.");
	if (pg_is_true(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_prepared_xacts)"))
		return refuse(ctx, "there are prepared transactions",
					  "Commit them or roll them back: see pg_prepared_xacts.");
	if (pg_is_true(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_tablespace "
				   "WHERE spcname NOT IN ('pg_default', 'pg_global'))"))
		return action_fail(ctx, STATE_FEATURE_NOT_SUPPORTED, "the cluster has tablespaces, which an upgrade does "
						   "not bring back yet when it fails");
	if (pg_is_true(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription)"))
		return refuse(ctx, "there are subscriptions, which would lose their position",
					  "Drop them, and make them anew after the upgrade: see pg_subscription.");
	if (pg_is_true(conn, "SELECT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical')"))
		return refuse(ctx, "there are logical replication slots, which would be lost",
					  "Drop them: see pg_replication_slots.");
	return 0;
}

/* It would be left behind. The registered standbys are made anew behind the upgrade. */
static int
check_streams(const Upgrade *upgrade, PGconn *conn, json_t *standbys)
{
	PGresult   *res = pg_query_or_fail(upgrade->ctx, conn, "SELECT coalesce(nullif(application_name, ''), "
									   "'(without a name)') FROM pg_catalog.pg_stat_replication ORDER BY 1", 0, NULL);
	int			rc = res ? 0 : -1;

	for (int i = 0; rc == 0 && i < PQntuples(res); i++)
		if (!param_names(standbys, PQgetvalue(res, i, 0)))
		{
			rc = action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "\"%s\" streams from this server, and is none of its registered standbys",
							 PQgetvalue(res, i, 0));
			action_hint(upgrade->ctx, "Stop it: see pg_stat_replication. What follows the old version cannot follow "
						"the new one.");
		}
	PQclear(res);
	return rc;
}

/* ---- programs ---- */

int
upgrade_programs(const Upgrade *upgrade)
{
	static const char *const names[] = {"postgres", "initdb", "pg_upgrade", "pg_ctl", NULL};

	for (int i = 0; names[i]; i++)
	{
		char	   *path = bin_path(upgrade->new, names[i]);
		int			rc = access(path, X_OK);

		if (rc < 0)
			action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "program \"%s\" cannot be executed: %s", path,
						strerror(errno));
		free(path);
		if (rc < 0)
			return -1;
	}
	if (version_major(upgrade->new) == upgrade->to && upgrade->from < upgrade->to)
		return 0;
	return action_fail(upgrade->ctx, STATE_INVALID_PARAMETER, "version %d cannot become version %d", upgrade->from,
					   upgrade->to);
}

/* ---- folders ---- */

/* The new data directory, or the nearest folder above it that is there: malloc'd. */
static char *
new_folder(const Upgrade *upgrade)
{
	char	   *folder = xstrdup(upgrade->new->data);

	while (!file_exists(folder) && strcmp(folder, "/") != 0)
	{
		char	   *copy = xstrdup(folder);

		free(folder);
		folder = xstrdup(dirname(copy));
		free(copy);
	}
	return folder;
}

/* By a real link (or reflink) as this user, in this mount namespace: bind mounts have the same device number. */
int
upgrade_links(const Upgrade *upgrade)
{
	char	   *folder = new_folder(upgrade);
	char	   *from = data_path(upgrade->old, "PG_VERSION");
	char	   *to = xasprintf("%s/.pingpong-link.%d", folder, (int) getpid());
	int			rc;

	unlink(to);
	rc = upgrade->mode == UPGRADE_CLONE ? file_clone(from, to) : link(from, to);
	if (rc < 0)
	{
		action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					"mode \"%s\" is not possible from \"%s\" to \"%s\": %s", upgrade_mode_name(upgrade->mode),
					upgrade->old->data, folder, strerror(errno));
		action_hint(upgrade->ctx, "%s", upgrade->mode == UPGRADE_LINK ?
					"Both must be on one file system and in one mount; or use mode copy." :
					"The file system must have reflinks (xfs, btrfs); or use mode copy.");
	}
	unlink(to);
	free(to);
	free(from);
	free(folder);
	return rc;
}

UpgradeRoom
upgrade_room(const Upgrade *upgrade, PGconn *conn)	/* a standby is copied, too */
{
	UpgradeRoom room = {.folder = new_folder(upgrade), .needed = -1, .free = -1};
	char	   *size = upgrade_shares_files(upgrade) ? xstrdup("0") :
		pg_value(conn, "SELECT sum(pg_catalog.pg_database_size(oid))::bigint FROM pg_catalog.pg_database");
	struct statvfs disk;

	if (size)
		room.needed = CATALOG_BYTES + strtoll(size, NULL, 10);
	if (statvfs(room.folder, &disk) == 0)
		room.free = (long long) disk.f_bavail * (long long) disk.f_frsize;
	free(size);
	return room;
}

static int
check_room(const Upgrade *upgrade, PGconn *conn)
{
	UpgradeRoom room = upgrade_room(upgrade, conn);
	int			rc = 0;

	if (room.needed < 0 || room.free < 0)
		rc = action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "it is not known whether there is room for an upgrade in \"%s\"", room.folder);
	else if (room.free < room.needed)
	{
		rc = action_fail(upgrade->ctx, STATE_DISK_FULL, "the disk of \"%s\" is too small", room.folder);
		action_detail(upgrade->ctx, "The upgrade needs %lld MB, %lld MB are free.", room.needed >> 20,
					  room.free >> 20);
	}
	free(room.folder);
	return rc;
}

int
upgrade_suits_standby(const Upgrade *upgrade, PGconn *conn)
{
	return upgrade_programs(upgrade) < 0 || place_check(upgrade) < 0 || check_room(upgrade, conn) < 0 ? -1 : 0;
}

int
upgrade_suits(const Upgrade *upgrade, PGconn *conn, json_t *standbys)
{
	if (upgrade_programs(upgrade) < 0 || place_check(upgrade) < 0 || check_server(upgrade, conn) < 0 ||
		check_streams(upgrade, conn, standbys) < 0 || check_room(upgrade, conn) < 0)
		return -1;
	return upgrade_shares_files(upgrade) && upgrade_links(upgrade) < 0 ? -1 : upgrade_snapshot_check(upgrade);
}
