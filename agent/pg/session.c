/*
 * session.c
 *		A session of one thread at the main instance, kept open.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/session.h"

void
session_close(OwnSession *session)
{
	PQfinish(session->conn);
	session->conn = NULL;
}

/* A reload may have named another server. */
static bool
is_of(const OwnSession *session, const PgInstance *pg)
{
	return session->conn && PQstatus(session->conn) == CONNECTION_OK && atoi(PQport(session->conn)) == pg->port &&
		strcmp(PQhost(session->conn), pg->socket) == 0;
}

/*
 * Only a server that takes sessions is asked. One that stops may wait for ours to end, and one that starts or
 * recovers would log each of our tries as an error.
 */
static bool
takes_sessions(const PgInstance *pg)
{
	return strcmp(pidfile_read(pg->data).status, "ready") == 0;
}

SessionAnswer
session_open(OwnSession *session, const PgInstance *pg, char *error, size_t error_size)
{
	char	   *database;

	if (!takes_sessions(pg))
	{
		snprintf(error, error_size, "the server is not up");
		session_close(session);
		return SESSION_DOWN;
	}
	if (is_of(session, pg))
		return SESSION_OPEN;
	session_close(session);
	session->conn = pg_local(pg, NULL, session->timeout_ms, error, error_size);
	if (!session->conn)
		return SESSION_DOWN;
	database = pg_pingpong_database(session->conn);
	if (database && strcmp(database, PQdb(session->conn)) != 0)
	{
		session_close(session);
		session->conn = pg_local(pg, database, session->timeout_ms, error, error_size);
	}
	free(database);
	return session->conn ? SESSION_OPEN : SESSION_ELSEWHERE;
}
