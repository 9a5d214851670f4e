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
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/job/params.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/version.h"
#include "agent/upgrade/place.h"
#include "agent/upgrade/snapshot.h"
#include "agent/upgrade/spaces.h"
#include "agent/upgrade/suits.h"
#include "common/sqlstate.h"

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
	bool		too_old = upgrade->mode == UPGRADE_SWAP && upgrade->to < 18;
	int			rc = too_old ? -1 : spaces_try_link(upgrade, from, folder);

	if (too_old)
	{
		action_fail(upgrade->ctx, STATE_FEATURE_NOT_SUPPORTED, "mode \"swap\" is of pg_upgrade 18, not of %d",
					upgrade->to);
		action_hint(upgrade->ctx, "Use mode link.");
	}
	else if (rc < 0)
	{
		action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					"mode \"%s\" is not possible from \"%s\" to \"%s\": %s", upgrade_mode_name(upgrade->mode),
					upgrade->old->data, folder, strerror(errno));
		action_hint(upgrade->ctx, "%s", upgrade_takes_files(upgrade) ?
					"Both must be on one file system and in one mount; or use mode copy." :
					"The file system must have reflinks (xfs, btrfs); or use mode copy.");
	}
	free(from);
	free(folder);
	return rc;
}

json_t *
upgrade_room(const Upgrade *upgrade, PGconn *conn)
{
	char	   *folder = new_folder(upgrade);
	json_t	   *room = spaces_room(upgrade, conn, folder);

	free(folder);
	return room;
}

static int
check_room(const Upgrade *upgrade, PGconn *conn)
{
	json_t	   *room = upgrade_room(upgrade, conn);
	const char *error = json_string_value(json_object_get(room, "error"));
	json_t	   *row;
	size_t		i;
	int			rc = !error ? 0 : action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
											 "it is not known whether there is room for an upgrade: %s", error);

	json_array_foreach(json_object_get(room, "rows"), i, row)
	{
		json_int_t	needed = json_integer_value(json_object_get(row, "needed"));
		json_int_t	free_bytes = json_integer_value(json_object_get(row, "free"));

		if (rc < 0 || free_bytes >= needed)
			continue;
		rc = action_fail(upgrade->ctx, STATE_DISK_FULL, "the disk of \"%s\" is too small",
						 json_string_value(json_object_get(row, "folder")));
		action_detail(upgrade->ctx, "The upgrade needs %lld MB, %lld MB are free.", (long long) needed >> 20,
					  (long long) free_bytes >> 20);
	}
	json_decref(room);
	return rc;
}

static int
check_spaces(const Upgrade *upgrade, PGconn *conn)
{
	json_t	   *found = spaces_look(upgrade, conn);
	const char *error = json_string_value(json_object_get(found, "error"));
	json_t	   *row;
	size_t		i;
	int			rc = !error ? 0 : action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
											 "it is not known which tablespaces there are: %s", error);

	json_array_foreach(json_object_get(found, "rows"), i, row)
	{
		const char *problem = json_string_value(json_object_get(row, "problem"));

		if (rc < 0 || !problem)
			continue;
		rc = action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "tablespace \"%s\": %s",
						 json_string_value(json_object_get(row, "name")), problem);
		action_hint(upgrade->ctx, "%s", json_string_value(json_object_get(row, "hint")));
	}
	json_decref(found);
	return rc;
}

int
upgrade_suits_standby(const Upgrade *upgrade, PGconn *conn)
{
	return upgrade_programs(upgrade) < 0 || place_check(upgrade) < 0 || check_spaces(upgrade, conn) < 0 ||
		check_room(upgrade, conn) < 0 ? -1 : 0;
}

int
upgrade_suits(const Upgrade *upgrade, PGconn *conn, json_t *standbys)
{
	if (upgrade_programs(upgrade) < 0 || place_check(upgrade) < 0 || check_server(upgrade, conn) < 0 ||
		check_streams(upgrade, conn, standbys) < 0 || check_spaces(upgrade, conn) < 0 ||
		check_room(upgrade, conn) < 0)
		return -1;
	return upgrade_shares_files(upgrade) && upgrade_links(upgrade) < 0 ? -1 : upgrade_snapshot_check(upgrade);
}
