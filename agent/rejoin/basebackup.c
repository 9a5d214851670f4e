/*
 * basebackup.c
 *		The costliest method, which always works where there is room: a copy of the source.
 *
 * The copy is made beside the present data, each part on its own disk, and exchanged for it when it is complete. The
 * old data is removed when the new server streams.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/action.h"
#include "agent/pg/layout.h"
#include "agent/pg/layout_mark.h"
#include "agent/pg/layout_move.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/standby.h"
#include "agent/rejoin/basebackup.h"
#include "agent/rejoin/fresh.h"
#include "agent/rejoin/saved.h"
#include "agent/rejoin/source.h"
#include "agent/rejoin/tool.h"
#include "common/sqlstate.h"

/* A role that may not know a size does without the check of room. */
#define SPACES_SQL \
	"SELECT oid, pg_catalog.pg_tablespace_location(oid), CASE WHEN " \
	"pg_catalog.has_tablespace_privilege(oid, 'CREATE') " \
	"OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_catalog.pg_tablespace_size(oid) ELSE 0 END " \
	"FROM pg_catalog.pg_tablespace WHERE spcname <> 'pg_global'"
#define DEFAULT_SPACE "1663"	/* pg_default: everything in the data directory itself */

/* What the source has, and where each piece of it is to be here. */
typedef struct Plan
{
	Layout		layout;
	Layout		inherited;		/* of the server that is succeeded */
	char	  **arguments;		/* of pg_basebackup: one for each part elsewhere, the rate */
	PGresult   *spaces;
} Plan;

static void
plan_free(Plan *plan)
{
	layout_free(&plan->layout);
	layout_free(&plan->inherited);
	text_free_list(plan->arguments);
	PQclear(plan->spaces);
}

/* But for what a copy that was killed has left of our work: that is removed before the next one. */
static bool
folder_empty(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	bool		empty = dir || errno == ENOENT;

	while (dir && (errno = 0, entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
			strncmp(entry->d_name, "pingpong.", 9) != 0)
			empty = false;
	if (dir && errno != 0)
		empty = false;
	if (dir)
		closedir(dir);
	return empty;
}

/* From now on it is a part like those that the node has. Takes `link` over. */
static const LayoutPart *
add_part(Rejoin *rejoin, Plan *plan, char *link, const char *location)
{
	LayoutPart *part = &plan->layout.parts[plan->layout.n_parts];

	if (plan->layout.n_parts == LAYOUT_PARTS_MAX)
	{
		action_fail(rejoin->ctx, STATE_LIMIT_EXCEEDED, "there are more than %d tablespaces", LAYOUT_PARTS_MAX - 1);
		free(link);
		return NULL;
	}
	*part = (LayoutPart) {link, xstrdup(location)};
	plan->layout.n_parts++;
	return part;
}

/* Where the source has it, as CREATE TABLESPACE did. */
static const LayoutPart *
add_space(Rejoin *rejoin, Plan *plan, const char *oid, const char *location)
{
	if (folder_empty(location))
		return add_part(rejoin, plan, xasprintf("pg_tblspc/%s", oid), location);
	action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
				"there is no empty folder \"%s\" for tablespace %s here", location, oid);
	action_hint(rejoin->ctx, "Make the folder on this host, empty and owned by the server's user.");
	return NULL;
}

/* Where the server has it that is succeeded: the numbers are the same, and each major has its own folder there. */
static const LayoutPart *
inherit_space(Rejoin *rejoin, Plan *plan, const LayoutPart *its)
{
	char	   *there = layout_space_of(its->path, rejoin->source.major, 0);

	if (!there)
		return add_part(rejoin, plan, xstrdup(its->link), its->path);
	action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "\"%s\" has \"%s\" in it already", its->path, there);
	action_hint(rejoin->ctx, "If no server uses it, remove it: it is left of a copy that was broken off.");
	free(there);
	return NULL;
}

/* NULL: the job has failed. */
static const LayoutPart *
place_of_space(Rejoin *rejoin, Plan *plan, const char *oid, const char *location)
{
	char	   *link = xasprintf("pg_tblspc/%s", oid);
	const LayoutPart *part = layout_part(&plan->layout, link);
	const LayoutPart *inherited = layout_part(&plan->inherited, link);

	free(link);
	if (part)
		return part;
	return inherited ? inherit_space(rejoin, plan, inherited) : add_space(rejoin, plan, oid, location);
}

static int
check_room(Rejoin *rejoin, const char *path, const char *needed)
{
	struct statvfs fs;
	unsigned long long bytes = strtoull(needed, NULL, 10);

	if (statvfs(path, &fs) == 0 && (unsigned long long) fs.f_bavail * fs.f_frsize < bytes)
		return action_fail(rejoin->ctx, STATE_DISK_FULL,
						   "a base backup needs %llu MB in \"%s\", where %llu MB are free",
						   bytes >> 20, path, (unsigned long long) fs.f_bavail * fs.f_frsize >> 20);
	return 0;
}

/*
 * A tablespace that this node has keeps its place; another one comes where the source has it. Each is copied beside
 * its place first: a copy that was killed is found there, and removed.
 */
static int
plan_space(Rejoin *rejoin, Plan *plan, int row)
{
	const char *oid = PQgetvalue(plan->spaces, row, 0);
	const char *location = PQgetvalue(plan->spaces, row, 1);
	const char *size = PQgetvalue(plan->spaces, row, 2);
	const LayoutPart *part;
	char	   *fresh;

	if (strcmp(oid, DEFAULT_SPACE) == 0 || location[0] != '/')
		return check_room(rejoin, rejoin->pg->data, size);
	part = place_of_space(rejoin, plan, oid, location);
	if (!part)
		return -1;
	fresh = layout_part_work(part, "new");
	text_append(&plan->arguments, xasprintf("--tablespace-mapping=%s=%s", location, fresh));
	free(fresh);
	return check_room(rejoin, part->path, size);
}

static bool
has_spaces(const Layout *layout)
{
	for (int i = 0; i < layout->n_parts; i++)
		if (layout_is_space(&layout->parts[i]))
			return true;
	return false;
}

static int
plan_spaces(Rejoin *rejoin, Plan *plan)
{
	PGconn	   *conn = source_connect(rejoin->ctx, &rejoin->source);
	int			rc = 0;

	if (conn)
	{
		pg_set_limit(conn, 60000);	/* sizes are summed up file by file */
		plan->spaces = pg_query_or_fail(rejoin->ctx, conn, SPACES_SQL, 0, NULL);
	}
	PQfinish(conn);
	if (!plan->spaces && (has_spaces(&plan->layout) || has_spaces(&plan->inherited)))
		return -1;				/* where each of them is to come from is not known */
	action_forget_error(rejoin->ctx);
	for (int i = 0; rc == 0 && plan->spaces && i < PQntuples(plan->spaces); i++)
		rc = plan_space(rejoin, plan, i);
	return rc;
}

/* `where` is the data directory, or its hidden place. */
static int
make_plan(Rejoin *rejoin, const char *where, Plan *plan)
{
	const LayoutPart *wal;

	memset(plan, 0, sizeof(*plan));
	if (layout_read(rejoin->ctx, where, &plan->layout) < 0 ||
		(rejoin->heir && layout_read(rejoin->ctx, rejoin->heir->former, &plan->inherited) < 0) ||
		plan_spaces(rejoin, plan) < 0)
		return -1;
	wal = layout_part(&plan->layout, "pg_wal");
	if (wal)
	{
		char	   *fresh = layout_part_work(wal, "new");

		text_append(&plan->arguments, xasprintf("--waldir=%s", fresh));
		free(fresh);
	}
	if (rejoin->pg->max_rate)
		text_append(&plan->arguments, xasprintf("--max-rate=%s", rejoin->pg->max_rate));
	return 0;
}

int
basebackup_feasible(Rejoin *rejoin)
{
	char	   *problem = layout_problem(rejoin->pg);
	Plan		plan = {0};
	int			rc = 0;

	if (problem)
		rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "a base backup is not possible: %s", problem);
	else
		rc = make_plan(rejoin, rejoin->place, &plan);
	if (rc == 0)
		rc = saved_check(rejoin);
	plan_free(&plan);
	free(problem);
	return rc;
}

/* name: "new", a copy that did not become complete; "old", what an earlier copy has replaced. */
static void
remove_work(Rejoin *rejoin, const Layout *layout, const char *name)
{
	char	   *path = layout_work(rejoin->pg, name);

	remove_tree(path);
	free(path);
	for (int i = 0; i < layout->n_parts; i++)
	{
		path = layout_part_work(&layout->parts[i], name);
		remove_tree(path);
		free(path);
	}
}

/*
 * Not with our slot: the walsender of a killed predecessor may still hold it. It keeps the WAL all the same, and
 * pg_basebackup takes a temporary one for its own stream.
 */
static int
run_basebackup(Rejoin *rejoin, const Plan *plan, char *directory)
{
	char	   *password = conninfo_get(rejoin->pg->replication, "password");
	char	   *conninfo = conninfo_merge(rejoin->pg->replication, NULL, rejoin->upstream.host,
										  rejoin->upstream.port, "pingpong-agent");
	char	   *bare = conninfo_without(conninfo, "password");
	char	   *program = bin_path(rejoin->pg, "pg_basebackup");
	char	   *fixed[] = {program, "-D", directory, "-d", bare, "-X", "stream", "-c", "fast", "-P", "-w"};
	size_t		n_fixed = sizeof(fixed) / sizeof(fixed[0]);
	char	  **argv = xalloc(sizeof(char *) * (n_fixed + text_list_length(plan->arguments) + 1));
	int			rc;

	memcpy(argv, fixed, sizeof(fixed));
	for (int i = 0; plan->arguments && plan->arguments[i]; i++)
		argv[n_fixed + i] = plan->arguments[i];
	action_progress(rejoin->ctx, 0, "pg_basebackup");
	rc = run_tool(rejoin, argv, password);
	free(argv);
	free(program);
	free(bare);
	free(conninfo);
	free(password);
	return rc;
}

/* pg_basebackup made them for the places that it copied to. */
static int
correct_links(Rejoin *rejoin, const Layout *layout, const char *directory)
{
	for (int i = 0; i < layout->n_parts; i++)
	{
		char	   *link = xasprintf("%s/%s", directory, layout->parts[i].link);
		struct stat st;
		bool		wanted = lstat(link, &st) == 0 && S_ISLNK(st.st_mode);
		int			rc = 0;

		if (wanted && (unlink(link) < 0 || symlink(layout->parts[i].path, link) < 0))
			rc = action_fail(rejoin->ctx, STATE_IO_ERROR, "could not correct the link \"%s\": %s", link,
							 strerror(errno));
		free(link);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int
make_copy(Rejoin *rejoin, const Plan *plan, char *fresh)
{
	int			rc = layout_make_work(rejoin->ctx);

	remove_work(rejoin, &plan->layout, "new");
	remove_work(rejoin, &plan->layout, "old");
	if (rc == 0)
		rc = layout_note_parts(rejoin->ctx, &plan->layout);
	if (rc == 0)
		rc = run_basebackup(rejoin, plan, fresh);
	return rc == 0 ? correct_links(rejoin, &plan->layout, fresh) : -1;
}

/* The copy becomes this node: its own files as they are now, and the settings of a standby. */
static int
make_own(Rejoin *rejoin, const char *fresh)
{
	int			rc = layout_phase(rejoin->ctx) == LAYOUT_WHOLE ? saved_take(rejoin) : 0;

	if (rc == 0)
		rc = saved_put_back(rejoin, fresh);
	if (rc == 0 && !rejoin->heir)
		rc = fresh_settings(rejoin, fresh);
	return rc == 0 ? standby_configure_offline(rejoin->ctx, fresh, &rejoin->upstream) : -1;
}

int
rejoin_by_basebackup(Rejoin *rejoin, int (*stop) (Rejoin *rejoin))
{
	char	   *fresh = layout_work(rejoin->pg, "new");
	Plan		plan = {0};
	int			rc = make_plan(rejoin, rejoin->place, &plan);

	if (rc == 0)
		rc = make_copy(rejoin, &plan, fresh);
	if (rc == 0)
		rc = stop(rejoin);
	if (rc == 0)
		rc = make_own(rejoin, fresh);
	if (rc == 0)
		rc = layout_swap(rejoin->ctx, &plan.layout);
	else
		remove_work(rejoin, &plan.layout, "new");
	plan_free(&plan);
	free(fresh);
	return rc;
}
