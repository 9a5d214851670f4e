/*
 * pg.h
 *		libpq as the agent uses it: limits on everything, errors without secrets.
 */
#ifndef PINGPONG_AGENT_PG_PG_H
#define PINGPONG_AGENT_PG_PG_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "agent/job/action.h"

/* Connects to our own server over its unix socket; NULL dbname: the configured one.
 * Returns NULL when that failed; error (may be NULL) says why, in one line.
 * Each statement ends after timeout_ms by the server's clock, and a little later by ours. */
extern PGconn *pg_local(const PgInstance *pg, const char *dbname, int timeout_ms,
						char *error, size_t error_size);

/* Connects with a conninfo string plus host and port (NULL and 0: none); replication: a walsender. */
extern PGconn *pg_remote(const char *conninfo, const char *host, int port, bool replication,
						 char *error, size_t error_size);

/*
 * How long each statement on the connection may take, in ms, whether the server looks at its own limit or not. Behind
 * that the connection is broken (PQstatus). pg_local() sets it a little above its timeout_ms.
 */
extern void pg_set_limit(PGconn *conn, int ms);

/* The same with the error put into the job. */
extern PGconn *pg_local_or_fail(ActionContext *ctx, const char *dbname, int timeout_ms);

/* Runs a statement with text parameters (n may be 0).  NULL when it failed; error as above. */
extern PGresult *pg_query(PGconn *conn, char *error, size_t error_size,
						  const char *sql, int n, const char *const *values);

/* The same with the server's SQLSTATE and message put into the job. */
extern PGresult *pg_query_or_fail(ActionContext *ctx, PGconn *conn, const char *sql,
								  int n, const char *const *values);

/* The first column of the first row, malloc'd; NULL: no row, SQL NULL or an error. */
extern char *pg_value(PGconn *conn, const char *sql);
extern bool pg_is_true(PGconn *conn, const char *sql);	/* is that value "t"? */

/* Fails the job with the connection's present error. */
extern int	pg_fail(ActionContext *ctx, PGconn *conn, PGresult *res, const char *what);

/* The name of the database that the extension lives in ("SHOW pingpong.database"), malloc'd; or NULL. */
extern char *pg_pingpong_database(PGconn *conn);

/*
 * The schema of the extension's own functions, for a connection to its database: in the version before they stood
 * among those of users.
 */
extern const char *pg_pingpong_schema(PGconn *conn);

#endif							/* PINGPONG_AGENT_PG_PG_H */
