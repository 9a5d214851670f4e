/*
 * place.c
 *		The configuration folder of a cluster of Debian's.
 *
 * Not by pg_createcluster: what a host has in createcluster.conf (a WAL folder, options of initdb, settings) would
 * make another server than the old one. pg_dropcluster knows all the files that are made here.
 */
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/paths.h"
#include "agent/pg/rights.h"
#include "agent/upgrade/boot.h"
#include "agent/upgrade/folder.h"
#include "agent/upgrade/place.h"
#include "agent/upgrade/record.h"
#include "common/sqlstate.h"

#define FOLDER_MODE 0755
#define FILE_MODE 0644

/* ---- may it be? ---- */

/* What an earlier run has prepared there is removed by the next one. */
static bool
is_left_by_us(const Upgrade *upgrade)
{
	UpgradeRecord record;
	bool		known = record_open(upgrade->ctx, &record) == 0;

	if (!known)
		action_forget_error(upgrade->ctx);
	return known && record.state == RECORD_PREPARED && strcmp(record.new_data, upgrade->new->data) == 0 &&
		boot_is_left(upgrade->new);
}

static int
check_free(const Upgrade *upgrade, const char *folder)
{
	const char *cluster = upgrade->new->cluster;

	if (folder_is_empty(folder) || is_left_by_us(upgrade))
		return 0;
	action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "there is a cluster %s already: \"%s\" is not empty",
				cluster, folder);
	action_hint(upgrade->ctx, "Its package may have made it. If nobody uses it: pg_dropcluster, as root.");
	return -1;
}

/* The folder, or the nearest one above it that is there. */
static int
check_writable(ActionContext *ctx, const PgInstance *pg)
{
	char	   *folder = config_folder(pg);
	char	   *place = folder;
	int			rc;

	while (!file_exists(place) && strcmp(place, "/") != 0)
		place = dirname(place);
	rc = access(place, W_OK | X_OK);
	if (rc < 0)
	{
		action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the agent may not write the configuration of cluster %s: "
					"\"%s\": %s", pg->cluster, place, strerror(errno));
		action_hint(ctx, "Give the folder to the agent's user; in the agent's unit it is among ReadWritePaths.");
	}
	free(folder);
	return rc;
}

/* systemd is asked about the new unit, too: a rule may name the old one alone. */
static int
check_right(ActionContext *ctx, const PgInstance *pg)
{
	char		why[512];

	if (rights_of_control(pg, why, sizeof(why)) != RIGHTS_NO)
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the agent cannot start and stop cluster %s: %s", pg->cluster,
				why);
	action_hint(ctx, "With \"control = systemctl\" the rule of polkit has to name both units: "
				"pingpong-agent.rules.");
	return -1;
}

static int
check_new(const Upgrade *upgrade)
{
	char	   *folder;
	int			rc;

	if (!config_is_elsewhere(upgrade->new))
		return 0;
	if (atoi(upgrade->new->cluster) != upgrade->to)
		return action_fail(upgrade->ctx, STATE_INVALID_PARAMETER, "cluster %s of [%s] is not one of version %d",
						   upgrade->new->cluster, upgrade->new->section, upgrade->to);
	folder = config_folder(upgrade->new);
	rc = check_free(upgrade, folder);
	free(folder);
	if (rc == 0)
		rc = check_writable(upgrade->ctx, upgrade->new);
	return rc < 0 ? rc : check_right(upgrade->ctx, upgrade->new);
}

int
place_check(const Upgrade *upgrade)
{
	if (check_new(upgrade) < 0)
		return -1;
	return config_is_elsewhere(upgrade->old) ? check_writable(upgrade->ctx, upgrade->old) : 0;
}

/* ---- made, and removed ---- */

/* Of those that pg_createcluster makes, too; of the old cluster, where it has them. */
static int
make_file(const Upgrade *upgrade, const char *name, const char *text)
{
	char	   *from = config_path(upgrade->old, name);
	char	   *to = config_path(upgrade->new, name);
	int			rc = config_is_elsewhere(upgrade->old) && file_exists(from) ? file_copy(from, to) :
		file_write_atomic(to, text, strlen(text), FILE_MODE, true);

	free(to);
	free(from);
	return rc;
}

/* Debian's tools of all users look into it, whatever the agent's umask. One that is there stays as it is. */
static int
make_folder(const char *path)
{
	if (mkdir(path, FOLDER_MODE) == 0)
		return chmod(path, FOLDER_MODE);
	return errno == EEXIST ? 0 : -1;
}

static int
make_folders(const char *folder)
{
	char	   *copy = xstrdup(folder);
	int			rc = make_folder(dirname(copy)) < 0 ? -1 : make_folder(folder);

	free(copy);
	return rc;
}

/* start.conf comes first: with it the folder is known to be ours, and no boot starts what is half made. */
int
place_make(const Upgrade *upgrade)
{
	char	   *folder;
	char	   *drop_ins;
	int			rc;

	if (!config_is_elsewhere(upgrade->new))
		return 0;
	folder = config_folder(upgrade->new);
	drop_ins = config_path(upgrade->new, "conf.d");
	rc = make_folders(folder);
	if (rc == 0)
		rc = boot_prepare(upgrade->old, upgrade->new, upgrade->ctx->run);
	if (rc == 0)
		rc = make_file(upgrade, "pg_ctl.conf", "pg_ctl_options = ''\n");
	if (rc == 0)
		rc = make_file(upgrade, "environment", "# environment variables for postgres processes\n");
	if (rc == 0)
		rc = make_folder(drop_ins);
	if (rc < 0)
		action_fail(upgrade->ctx, STATE_IO_ERROR, "could not make \"%s\": %s", folder, strerror(errno));
	free(drop_ins);
	free(folder);
	return rc;
}

static int
remove_one(const PgInstance *pg, const char *name, int (*how) (const char *path))
{
	char	   *path = config_path(pg, name);
	int			rc = how(path) < 0 && errno != ENOENT ? -1 : 0;

	free(path);
	return rc;
}

/* Folders in which somebody has put something stay. */
static void
remove_folders(const PgInstance *pg)
{
	char	   *folder = config_folder(pg);

	if (rmdir(folder) == 0)
		(void) rmdir(dirname(folder));
	free(folder);
}

int
place_clear(const PgInstance *pg)
{
	static const char *const names[] = {
		"postgresql.conf", "pg_hba.conf", "pg_ident.conf", "pg_ctl.conf", "environment", NULL
	};
	int			rc = 0;

	if (!boot_is_left(pg))
		return 0;
	for (int i = 0; rc == 0 && names[i]; i++)
		rc = remove_one(pg, names[i], unlink);
	(void) remove_one(pg, "conf.d", rmdir);
	if (rc == 0)
		rc = remove_one(pg, "start.conf", unlink);	/* the last: by it the folder is known to be ours */
	remove_folders(pg);
	return rc;
}
