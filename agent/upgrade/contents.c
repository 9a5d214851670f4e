/*
 * contents.c
 *		What the databases of a server hold that counts for an upgrade: a statement for each part, in each database.
 *
 * Only catalogs are read. A session may meet a lock on them, so each statement has its limit, and all of it a
 * deadline: a server of many databases must not keep preflight waiting.
 */
#include <string.h>

#include "agent/core/clock.h"
#include "agent/facts/error.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/contents.h"

#define STATEMENT_TIMEOUT_MS 5000

typedef struct ContentsPart
{
	const char *name;
	const char *sql;
} ContentsPart;

/* How many there are, and the first five. */
#define FEW(names) \
	"SELECT jsonb_build_object('count', count(*), 'names', coalesce(jsonb_agg(name ORDER BY name) " \
	"FILTER (WHERE place <= 5), '[]')) FROM (SELECT name, row_number() OVER (ORDER BY name) AS place FROM (" \
	names ") n (name)) f"

#define ABOUT_USERS "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast_)?temp_'"

static const ContentsPart parts[] = {
	{"extensions",
	"SELECT coalesce(jsonb_object_agg(extname, extversion), '{}') FROM pg_extension"},
	{"libraries",				/* of functions in C, as pg_upgrade looks for them */
		"SELECT coalesce(jsonb_agg(DISTINCT probin), '[]') FROM pg_proc WHERE prolang = 13 AND probin IS NOT NULL "
	"AND oid >= 16384"},
	/*
	 * Columns of types whose values name objects by oids that an upgrade does not keep, or whose format is another
	 * from 16 on; through domains, arrays, composite types and ranges, as pg_upgrade looks for them.
	 */
	{"types",
		FEW("WITH RECURSIVE bad (oid) AS (SELECT t.oid FROM pg_type t WHERE t.typnamespace = "
			"'pg_catalog'::regnamespace AND (t.typname IN ('regcollation', 'regconfig', 'regdictionary', "
			"'regnamespace', 'regoper', 'regoperator', 'regproc', 'regprocedure') "
			"OR t.typname = 'aclitem' AND current_setting('server_version_num')::int < 160000) "
			"UNION SELECT u.oid FROM (WITH x AS (SELECT oid FROM bad) "
			"SELECT t.oid FROM pg_type t JOIN x ON t.typbasetype = x.oid WHERE t.typtype = 'd' "
			"UNION ALL SELECT t.oid FROM pg_type t JOIN x ON t.typelem = x.oid WHERE t.typtype = 'b' "
			"UNION ALL SELECT c.reltype FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid "
			"JOIN x ON a.atttypid = x.oid WHERE c.reltype <> 0 AND NOT a.attisdropped "
			"UNION ALL SELECT r.rngtypid FROM pg_range r JOIN x ON r.rngsubtype = x.oid) u) "
			"SELECT format('%I.%I.%I (%s)', n.nspname, c.relname, a.attname, format_type(a.atttypid, NULL)) "
			"FROM bad b JOIN pg_attribute a ON a.atttypid = b.oid AND NOT a.attisdropped "
			"JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'm', 'i') "
			"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE " ABOUT_USERS)},
	{"collations",
		FEW("SELECT format('%I.%I', n.nspname, c.collname) FROM pg_collation c "
			"JOIN pg_namespace n ON n.oid = c.collnamespace WHERE c.collversion IS NOT NULL "
			"AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database())) "
			"AND c.collversion <> pg_collation_actual_version(c.oid)")},
	{"indexes",
		FEW("SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
			"JOIN pg_namespace n ON n.oid = c.relnamespace "
			"WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready AND i.indislive)")},
	{"objects",					/* an upgrade does not carry temporary ones */
		"SELECT jsonb_build_object('relations', (SELECT count(*) FROM pg_class WHERE relpersistence <> 't'), "
		"'large_objects', (SELECT count(*) FROM pg_largeobject_metadata), "
	"'statistics', (SELECT count(*) FROM pg_statistic_ext))"},
};

static json_t *
visit(const PgInstance *pg, const char *database, double deadline)
{
	char		error[512];
	PGconn	   *conn;
	json_t	   *row;

	if (clock_monotonic_ms() > deadline)
		return facts_error("not visited: the other databases have taken too long");
	conn = pg_local(pg, database, STATEMENT_TIMEOUT_MS, error, sizeof(error));
	if (!conn)
		return facts_error("%s", error);
	row = json_object();
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		json_object_set_new(row, parts[i].name, clock_monotonic_ms() > deadline ?
							facts_error("not looked at: it has taken too long") : facts_ask(conn, parts[i].sql));
	PQfinish(conn);
	return row;
}

json_t *
contents_look(const PgInstance *pg, PGconn *conn, double deadline_ms)
{
	char		error[512];
	PGresult   *res = pg_query(conn, error, sizeof(error), "SELECT datname FROM pg_database WHERE datallowconn "
							   "AND datconnlimit <> -2 ORDER BY datname", 0, NULL);
	json_t	   *rows = json_array();

	if (!res)
	{
		json_decref(rows);
		return facts_error("%s", error);
	}
	for (int i = 0; i < PQntuples(res); i++)
	{
		json_t	   *row = visit(pg, PQgetvalue(res, i, 0), deadline_ms);

		json_object_set_new(row, "database", json_string(PQgetvalue(res, i, 0)));
		json_array_append_new(rows, row);
	}
	PQclear(res);
	return json_pack("{s:o}", "rows", rows);
}
