/*
 * spaces.c
 *		Tablespaces: what stands against an upgrade with them, and the room that it needs in each file system.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/facts/error.h"
#include "agent/pg/layout.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/folder.h"
#include "agent/upgrade/spaces.h"

#define CATALOG_BYTES (512LL * 1024 * 1024) /* a new cluster with its WAL, and room to work */

/* Locations are those of this server's own links. What is shared by all databases is small. */
#define SPACES_SQL \
	"SELECT spcname, pg_catalog.pg_tablespace_location(oid), pg_catalog.pg_tablespace_size(oid) " \
	"FROM pg_catalog.pg_tablespace WHERE spcname <> 'pg_global' ORDER BY spcname <> 'pg_default', spcname"
#define NAME 0
#define LOCATION 1
#define SIZE 2

static bool
is_default(PGresult *res, int row)
{
	return strcmp(PQgetvalue(res, row, NAME), "pg_default") == 0;
}

/* ---- links ---- */

int
spaces_try_link(const Upgrade *upgrade, const char *from, const char *folder)
{
	char	   *to = xasprintf("%s/.pingpong-link.%d", folder, (int) getpid());
	int			rc;
	int			reason;

	unlink(to);
	rc = upgrade->mode == UPGRADE_CLONE ? file_clone(from, to) : link(from, to);
	reason = errno;
	unlink(to);
	free(to);
	errno = reason;
	return rc;
}

/* A file of the old version there, malloc'd: LOCATION/PG_15_.../DATABASE/FILE. NULL: it has none, or none is seen. */
static char *
some_file(const char *folder, int depth)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	char	   *found = NULL;

	while (dir && !found && (entry = readdir(dir)))
	{
		char	   *path = xasprintf("%s/%s", folder, entry->d_name);
		struct stat st;

		if (entry->d_name[0] != '.' && lstat(path, &st) == 0)
		{
			if (depth == 0 && S_ISREG(st.st_mode))
				found = xstrdup(path);
			else if (depth > 0 && S_ISDIR(st.st_mode))
				found = some_file(path, depth - 1);
		}
		free(path);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Where there is no file none will be linked. One that was dropped since it was found says nothing. */
static char *
link_problem(const Upgrade *upgrade, const char *location)
{
	char	   *own = layout_space_of(location, upgrade->from, 0);
	char	   *folder = xasprintf("%s/%s", location, own ? own : ".");
	char	   *from = own && upgrade_shares_files(upgrade) ? some_file(folder, 1) : NULL;
	char	   *problem = NULL;

	if (from && spaces_try_link(upgrade, from, location) < 0 && errno != ENOENT)
		problem = xasprintf("mode \"%s\" is not possible in \"%s\": %s", upgrade_mode_name(upgrade->mode), location,
							strerror(errno));
	free(from);
	free(folder);
	free(own);
	return problem;
}

/* ---- what stands against it ---- */

/* Finalize would empty it. */
static bool
is_in_data(const Upgrade *upgrade, const char *location)
{
	char	   *data = realpath(upgrade->old->data, NULL);
	char	   *real = realpath(location, NULL);
	bool		inside = location[0] != '/' || (data && real && folder_is_inside(real, data));

	free(real);
	free(data);
	return inside;
}

/* malloc'd; NULL: nothing is known against it. */
static char *
problem_of(const Upgrade *upgrade, const char *location, const char **hint)
{
	char	   *there;
	char	   *problem;

	*hint = "Move its contents to a tablespace that lies elsewhere, and drop it.";
	if (is_in_data(upgrade, location))
		return xasprintf("it lies in the data directory: \"%s\"", location);
	*hint = "The agent's user must own the folder.";
	if (access(location, R_OK | W_OK | X_OK) < 0)
		return xasprintf("the agent may not change \"%s\": %s", location, strerror(errno));
	there = layout_space_of(location, upgrade->to, 0);
	*hint = "It is of another server, or left of an upgrade that was broken off. Make sure that no server uses it, "
		"and remove it.";
	problem = there ? xasprintf("\"%s\" has \"%s\" in it already", location, there) : NULL;
	free(there);
	if (problem)
		return problem;
	*hint = upgrade_takes_files(upgrade) ? "Its folders must be in one mount; or use mode copy." :
		"Its file system must have reflinks (xfs, btrfs); or use mode copy.";
	return link_problem(upgrade, location);
}

static json_t *
look_at(const Upgrade *upgrade, const char *name, const char *location)
{
	json_t	   *row = json_pack("{s:s, s:s}", "name", name, "location", location);
	const char *hint;
	char	   *problem;

	if (!row)					/* JSON cannot tell them */
		return json_pack("{s:s, s:s, s:s, s:s}", "name", "?", "location", "?", "problem",
						 "its name or its location is not UTF-8", "hint", "Drop it.");
	problem = problem_of(upgrade, location, &hint);
	if (problem)
	{
		json_object_set_new(row, "problem", json_string(problem));
		json_object_set_new(row, "hint", json_string(hint));
	}
	free(problem);
	return row;
}

/* More than a rejoin can carry would leave a standby behind. */
static json_t *
too_many(PGresult *res)
{
	return json_pack("{s:s, s:s, s:o, s:s}", "name", PQgetvalue(res, LAYOUT_PARTS_MAX, NAME), "location",
					 PQgetvalue(res, LAYOUT_PARTS_MAX, LOCATION), "problem",
					 json_sprintf("there are more than %d tablespaces", LAYOUT_PARTS_MAX - 1), "hint",
					 "A rebuild carries no more.");
}

json_t *
spaces_look(const Upgrade *upgrade, PGconn *conn)
{
	char		error[512];
	PGresult   *res = pg_query(conn, error, sizeof(error), SPACES_SQL, 0, NULL);
	json_t	   *rows = json_array();

	if (!res)
	{
		json_decref(rows);
		return facts_error("%s", error);
	}
	for (int i = 0; i < PQntuples(res) && i < LAYOUT_PARTS_MAX; i++)
		if (!is_default(res, i))
			json_array_append_new(rows, look_at(upgrade, PQgetvalue(res, i, NAME), PQgetvalue(res, i, LOCATION)));
	if (PQntuples(res) > LAYOUT_PARTS_MAX)
		json_array_append_new(rows, too_many(res));
	PQclear(res);
	return json_pack("{s:o}", "rows", rows);
}

/* ---- room ---- */

/* To what is needed in the same file system already, by its device. -1 with errno: it cannot be looked at. */
static int
need(json_t *rows, const char *folder, long long bytes)
{
	struct stat st;
	struct statvfs fs;
	json_t	   *row;
	size_t		i;

	if (stat(folder, &st) < 0 || statvfs(folder, &fs) < 0)
		return -1;
	json_array_foreach(rows, i, row)
		if (json_integer_value(json_object_get(row, "device")) == (json_int_t) st.st_dev)
			return json_object_set_new(row, "needed", json_integer(
						json_integer_value(json_object_get(row, "needed")) + (json_int_t) bytes));
	errno = EILSEQ;				/* JSON cannot tell the folder */
	return json_array_append_new(rows, json_pack("{s:s, s:I, s:I, s:I}", "folder", folder,
												 "device", (json_int_t) st.st_dev, "needed", (json_int_t) bytes,
												 "free", (json_int_t) fs.f_bavail * (json_int_t) fs.f_frsize));
}

/* A standby is copied, whatever the primary's mode is. */
json_t *
spaces_room(const Upgrade *upgrade, PGconn *conn, const char *folder)
{
	char		error[512];
	PGresult   *res = pg_query(conn, error, sizeof(error), SPACES_SQL, 0, NULL);
	json_t	   *rows = json_array();
	json_t	   *failed = res ? NULL : facts_error("%s", error);

	if (res && need(rows, folder, CATALOG_BYTES) < 0)
		failed = facts_error("\"%s\": %s", folder, strerror(errno));
	for (int i = 0; !failed && !upgrade_shares_files(upgrade) && i < PQntuples(res); i++)
	{
		const char *location = PQgetvalue(res, i, LOCATION);
		const char *place = location[0] == '/' ? location : folder;

		if (need(rows, place, strtoll(PQgetvalue(res, i, SIZE), NULL, 10)) < 0)
			failed = facts_error("\"%s\": %s", place, strerror(errno));
	}
	PQclear(res);
	if (failed)
	{
		json_decref(rows);
		return failed;
	}
	return json_pack("{s:o}", "rows", rows);
}
