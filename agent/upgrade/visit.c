/*
 * visit.c
 *		Questions to each database of a server.
 *
 * Only catalogs are read. A session may meet a lock on them, so each statement has its limit, and all of it a
 * deadline: a server of many databases must not keep preflight waiting, nor clients.
 */
#include "agent/core/clock.h"
#include "agent/facts/error.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/visit.h"

#define STATEMENT_TIMEOUT_MS 5000

json_t *
visit_ask(PGconn *conn, const Question *questions, double deadline_ms)
{
	json_t	   *row = json_object();

	for (const Question *question = questions; question->name; question++)
		json_object_set_new(row, question->name, clock_monotonic_ms() > deadline_ms ?
							facts_error("not looked at: it has taken too long") :
							question->sql ? facts_ask(conn, question->sql) : question->ask(conn));
	return row;
}

static json_t *
visit(const PgInstance *pg, const char *database, const Question *questions, double deadline_ms)
{
	char		error[512];
	PGconn	   *conn;
	json_t	   *row;

	if (clock_monotonic_ms() > deadline_ms)
		return facts_error("not visited: the other databases have taken too long");
	conn = pg_local(pg, database, STATEMENT_TIMEOUT_MS, error, sizeof(error));
	if (!conn)
		return facts_error("%s", error);
	row = visit_ask(conn, questions, deadline_ms);
	PQfinish(conn);
	return row;
}

json_t *
visit_databases(const PgInstance *pg, PGconn *conn, const Question *questions, double deadline_ms)
{
	char		error[512];
	PGresult   *res = pg_query(conn, error, sizeof(error), "SELECT datname FROM pg_database WHERE datallowconn "
							   "AND datconnlimit <> -2 ORDER BY datname", 0, NULL);
	json_t	   *rows;

	if (!res)
		return facts_error("%s", error);
	rows = json_array();
	for (int i = 0; i < PQntuples(res); i++)
	{
		json_t	   *row = visit(pg, PQgetvalue(res, i, 0), questions, deadline_ms);

		json_object_set_new(row, "database", json_string(PQgetvalue(res, i, 0)));
		json_array_append_new(rows, row);
	}
	PQclear(res);
	return json_pack("{s:o}", "rows", rows);
}
