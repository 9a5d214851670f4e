/*
 * contents.c
 *		What the databases of a server hold that counts for an upgrade: a statement for each part, in each database.
 */
#include "agent/upgrade/contents.h"
#include "agent/upgrade/visit.h"

/* How many there are, and the first five. */
#define FEW(names) \
	"SELECT jsonb_build_object('count', count(*), 'names', coalesce(jsonb_agg(name ORDER BY name) " \
	"FILTER (WHERE place <= 5), '[]')) FROM (SELECT name, row_number() OVER (ORDER BY name) AS place FROM (" \
	names ") n (name)) f"

#define ABOUT_USERS "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast_)?temp_'"

static const Question parts[] = {
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
	{NULL}
};

json_t *
contents_look(const PgInstance *pg, PGconn *conn, double deadline_ms)
{
	return visit_databases(pg, conn, parts, deadline_ms);
}
