/*
 * options.c
 *		Options of columns that the new release does not know.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/pg/formats.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/options.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 60000
#define TRY_TIMEOUT_MS 60000

/* ---- which there are ---- */

static int
read_options(const Upgrade *upgrade, const char *database, json_t *options)
{
	static const char sql[] =
		"SELECT DISTINCT ON (1) pg_catalog.split_part(o, '=', 1), "
		"pg_catalog.substr(o, pg_catalog.strpos(o, '=') + 1) "
		"FROM pg_catalog.pg_attribute a, pg_catalog.unnest(a.attoptions) o WHERE NOT a.attisdropped";
	PGconn	   *conn = pg_local_or_fail(upgrade->ctx, database, QUERY_TIMEOUT_MS);
	PGresult   *res = conn ? pg_query_or_fail(upgrade->ctx, conn, sql, 0, NULL) : NULL;
	int			rc = res ? 0 : -1;

	for (int i = 0; res && i < PQntuples(res); i++)
		json_object_set_new(options, PQgetvalue(res, i, 0), json_string(PQgetvalue(res, i, 1)));
	PQclear(res);
	PQfinish(conn);
	return rc;
}

/* In all databases, template1, too. */
static int
read_all_options(const Upgrade *upgrade, PGconn *conn, json_t *options)
{
	PGresult   *res = pg_query_or_fail(upgrade->ctx, conn, "SELECT datname FROM pg_catalog.pg_database "
									   "WHERE datallowconn ORDER BY datname", 0, NULL);
	int			rc = res ? 0 : -1;

	for (int i = 0; rc == 0 && i < PQntuples(res); i++)
		rc = read_options(upgrade, PQgetvalue(res, i, 0), options);
	PQclear(res);
	return rc;
}

/* ---- does the new server take them? ---- */

static void
collect(void *argument, const char *data, size_t size)
{
	text_add(argument, data, size);
}

/* A name in double quotes, as SQL has it. */
static char *
quoted_name(const char *name)
{
	Text		text = {0};

	text_add(&text, "\"", 1);
	for (; *name; name++)
		text_add(&text, *name == '"' ? "\"\"" : name, *name == '"' ? 2 : 1);
	text_add(&text, "\"", 1);
	return text.data;
}

/* By the server in its single-user mode: a statement a line. It ends with 0 also after an error. */
static int
try_option(const Upgrade *upgrade, const char *name, const char *value)
{
	char	   *program = bin_path(upgrade->new, "postgres");
	char	   *quoted = quoted_name(name);
	char	   *literal = sql_literal(value);
	char	   *input = xasprintf("BEGIN;\nCREATE TABLE pingpong_probe (a pg_catalog.int4);\n"
								  "ALTER TABLE pingpong_probe ALTER a SET (%s = %s);\nROLLBACK;\n", quoted, literal);
	Text		output = {0};
	ChildOptions options = {.timeout_ms = TRY_TIMEOUT_MS, .input = input, .on_output = collect, .argument = &output};
	char	   *argv[] = {program, "--single", "-D", upgrade->new->data, "-c", "shared_preload_libraries=",
	"-c", "archive_mode=off", "template1", NULL};
	int			rc = child_run_or_fail(upgrade->ctx, argv, &options);

	if (rc == 0 && output.data && strstr(output.data, "ERROR:"))
	{
		rc = action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "there are columns with the option \"%s\", which this release of version %d refuses", name,
						 upgrade->to);
		action_hint(upgrade->ctx, "Install the newest minor release of %d, which is of the same round as that of %d.",
					upgrade->to, upgrade->from);
	}
	free(output.data);
	free(input);
	free(literal);
	free(quoted);
	free(program);
	return rc;
}

int
options_known(const Upgrade *upgrade, PGconn *conn)
{
	json_t	   *options = json_object();
	int			rc = read_all_options(upgrade, conn, options);
	const char *name;
	json_t	   *value;

	json_object_foreach(options, name, value)
		if (rc == 0)
			rc = try_option(upgrade, name, json_string_value(value));
	json_decref(options);
	return rc;
}
