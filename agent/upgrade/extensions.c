/*
 * extensions.c
 *		ALTER EXTENSION ... UPDATE, behind an upgrade.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/extensions.h"

#define UPDATE_TIMEOUT_MS 600000

#define DUE_SQL \
	"SELECT e.extname, e.extversion, a.default_version, pg_catalog.quote_ident(e.extname) " \
	"FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_available_extensions a ON a.name = e.extname " \
	"WHERE a.default_version <> e.extversion ORDER BY e.oid"

/* Those that ALTER EXTENSION alone does not bring to a new version, and this one: its worker would meet itself. */
static const char *const left_alone[] = {
	"pg_pingpong", "postgis", "postgis_raster", "postgis_sfcgal", "postgis_topology", "postgis_tiger_geocoder", NULL
};

typedef struct Extensions
{
	ActionContext *ctx;
	json_t	   *updated;
	json_t	   *left;
	json_t	   *failed;
	bool		told;			/* the job's error is that of the first that failed */
} Extensions;

static bool
is_left_alone(const char *name)
{
	for (int i = 0; left_alone[i]; i++)
		if (strcmp(left_alone[i], name) == 0)
			return true;
	return false;
}

static void
add(json_t *list, const char *database, PGresult *due, int row)
{
	json_array_append_new(list, json_sprintf("%s: %s %s to %s", database, PQgetvalue(due, row, 0),
											 PQgetvalue(due, row, 1), PQgetvalue(due, row, 2)));
}

/* The error of a later one does not replace that of the first. */
static bool
update_one(Extensions *extensions, const char *database, const char *quoted)
{
	PGconn	   *conn = pg_local_or_fail(extensions->ctx, database, UPDATE_TIMEOUT_MS);
	char	   *sql = xasprintf("ALTER EXTENSION %s UPDATE", quoted);
	PGresult   *res = conn ? pg_query_or_fail(extensions->ctx, conn, sql, 0, NULL) : NULL;
	bool		done = res != NULL;

	extensions->told |= !done;
	PQclear(res);
	PQfinish(conn);
	free(sql);
	return done;
}

static int
update_database(Extensions *extensions, const char *database)
{
	PGconn	   *conn = pg_local_or_fail(extensions->ctx, database, UPDATE_TIMEOUT_MS);
	PGresult   *due = conn ? pg_query_or_fail(extensions->ctx, conn, DUE_SQL, 0, NULL) : NULL;
	int			rc = due ? 0 : -1;

	PQfinish(conn);
	for (int i = 0; due && i < PQntuples(due) && !action_cancelled(extensions->ctx); i++)
		if (is_left_alone(PQgetvalue(due, i, 0)))
			add(extensions->left, database, due, i);
		else
			add(update_one(extensions, database, PQgetvalue(due, i, 3)) ? extensions->updated : extensions->failed,
				database, due, i);
	PQclear(due);
	return rc;
}

int
action_upgrade_extensions(ActionContext *ctx, json_t *params, json_t *result)
{
	Extensions	extensions = {ctx, json_array(), json_array(), json_array(), false};
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, UPDATE_TIMEOUT_MS);
	PGresult   *databases = conn ? pg_query_or_fail(ctx, conn, "SELECT datname FROM pg_catalog.pg_database "
													"WHERE datallowconn ORDER BY datname", 0, NULL) : NULL;
	int			rc = databases ? 0 : -1;

	(void) params;
	PQfinish(conn);
	for (int i = 0; databases && i < PQntuples(databases); i++)
	{
		action_progress(ctx, -1, "database \"%s\"", PQgetvalue(databases, i, 0));
		if (update_database(&extensions, PQgetvalue(databases, i, 0)) < 0)
			rc = -1;
	}
	PQclear(databases);
	json_object_set_new(result, "message", json_sprintf("%d updated, %d left",
														(int) json_array_size(extensions.updated),
														(int) json_array_size(extensions.left)));
	json_object_set_new(result, "updated", extensions.updated);
	json_object_set_new(result, "left", extensions.left);
	json_object_set_new(result, "failed", extensions.failed);
	return rc < 0 || extensions.told ? -1 : 0;
}
