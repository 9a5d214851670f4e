/*
 * seal.c
 *		The seal of a server, running or not.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/formats.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"

#define QUERY_TIMEOUT_MS 10000

bool
server_seal(const PgInstance *pg, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn)
{
	char	   *database = pg_pingpong_database(conn);
	PGconn	   *there = database ? pg_local(pg, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;
	PGresult   *res = there ? pg_query(there, NULL, 0, SERVER_SEAL_SQL, 0, NULL) : NULL;
	bool		sealed = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "sealed") == 0 &&
		lsn_parse(PQgetvalue(res, 0, 1), lsn);

	if (sealed)
		snprintf(run, run_size, "%s", PQgetvalue(res, 0, 2));
	PQclear(res);
	PQfinish(there);
	free(database);
	return sealed;
}

/*
 * The seal of a server that does not run: pingpong.seal is text, key=value (gate/seal.c). Void on a newer timeline.
 */
bool
seal_read(const char *place, const DataDir *dir, char *run, size_t run_size, unsigned long long *lsn)
{
	char	   *path = xasprintf("%s/pingpong.seal", place);
	char	   *text = file_read(path, 4096, NULL);
	char	   *system = text ? conf_value(text, "system_identifier") : NULL;
	char	   *timeline = text ? conf_value(text, "timeline") : NULL;
	char	   *position = text ? conf_value(text, "lsn") : NULL;
	char	   *name = text ? conf_value(text, "run") : NULL;
	bool		sealed = system && timeline && name && text && strstr(text, "\ncrc=") &&
		strtoull(system, NULL, 10) == dir->system && strtoul(timeline, NULL, 10) >= dir->timeline &&
		lsn_parse(position, lsn);

	if (sealed)
		snprintf(run, run_size, "%s", name);
	free(name);
	free(position);
	free(timeline);
	free(system);
	free(text);
	free(path);
	return sealed;
}
