/*
 * pg.c
 *		libpq as the agent uses it: limits on everything, errors without secrets.
 */
#include <errno.h>
#include <libpq-events.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/conninfo.h"
#include "agent/pg/pg.h"
#include "common/sqlstate.h"

#define CONNECT_TIMEOUT_S "3"
#define LIMIT_MS 15000			/* for a statement on a connection without a limit of its own */
#define NO_ANSWER "PostgreSQL does not answer in time"
#define GRACE_MS 1000			/* beyond statement_timeout, which a server that hangs does not look at */

/* libpq's messages have several lines; a job's has one.  Passwords are not in them. */
static void
one_line(char *to, size_t size, const char *from)
{
	size_t		len = 0;

	for (; from && *from && len + 1 < size; from++)
		to[len++] = (unsigned char) *from < ' ' ? ' ' : *from;
	while (len > 0 && to[len - 1] == ' ')
		len--;
	if (size > 0)
		to[len] = '\0';
}

/* Registered only so that a connection can carry its limit. */
static int
carry_limit(PGEventId id, void *info, void *unused)
{
	(void) id;
	(void) info;
	(void) unused;
	return 1;
}

void
pg_set_limit(PGconn *conn, int ms)
{
	if (PQregisterEventProc(conn, carry_limit, "pingpong-agent", NULL) || PQinstanceData(conn, carry_limit))
		PQsetInstanceData(conn, carry_limit, (void *) (intptr_t) ms);
}

static int
limit_of(const PGconn *conn)
{
	intptr_t	ms = (intptr_t) PQinstanceData(conn, carry_limit);

	return ms > 0 ? (int) ms : LIMIT_MS;
}

static PGconn *
connected(PGconn *conn, char *error, size_t error_size)
{
	if (conn && PQstatus(conn) == CONNECTION_OK)
		return conn;
	if (error)
		one_line(error, error_size, conn ? PQerrorMessage(conn) : "out of memory");
	PQfinish(conn);
	return NULL;
}

/*
 * The gate's bypass is set for every session of ours: what we write (an ALTER SYSTEM,
 * a slot) must not wait in a gate that is held for us.  The server does not log our
 * statements: a primary_conninfo may hold a password.  Whatever else could end a session
 * of ours or change what an answer looks like is set too: a role, a database or the whole
 * server may have it otherwise.
 */
PGconn *
pg_local(const PgInstance *pg, const char *dbname, int timeout_ms, char *error, size_t error_size)
{
	char		options[768];
	char		port[16];
	const char *keywords[] = {"host", "port", "user", "dbname", "application_name", "connect_timeout", "options",
	"client_encoding", NULL};
	const char *values[] = {pg->socket, port, pg->superuser, dbname ? dbname : pg->database, "pingpong-agent",
	CONNECT_TIMEOUT_S, options, "UTF8", NULL};
	PGconn	   *conn;

	snprintf(port, sizeof(port), "%d", pg->port);
	snprintf(options, sizeof(options), "-c pingpong.bypass_gate=on -c statement_timeout=%d -c search_path= "
			 "-c log_statement=none -c log_min_duration_statement=-1 -c default_transaction_read_only=off "
			 "-c default_transaction_isolation=read\\ committed -c default_transaction_deferrable=off "
			 "-c lock_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0 "
			 "-c standard_conforming_strings=on -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 "
			 "-c bytea_output=hex -c client_min_messages=warning -c jit=off",
			 timeout_ms);
	conn = connected(PQconnectdbParams(keywords, values, 0), error, error_size);
	if (!conn)
		return NULL;
	pg_set_limit(conn, timeout_ms + GRACE_MS);
	/* 15 would refuse a session that names it */
	if (PQserverVersion(conn) >= 170000)
		PQclear(pg_query(conn, NULL, 0, "SET transaction_timeout = 0", 0, NULL));
	return conn;
}

/*
 * Another server's: what its roles, databases or itself have otherwise is set here, not in the conninfo, whose own
 * options stay.
 */
static void
pin_settings(PGconn *conn)
{
	PQclear(pg_query(conn, NULL, 0, "SET default_transaction_isolation = 'read committed';"
					 "SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0;"
					 "SET standard_conforming_strings = on; SET DateStyle = ISO; SET search_path = ''", 0, NULL));
}

/* Without a host it is what the conninfo says, a pooler or its console, and is left as it is. */
PGconn *
pg_remote(const char *conninfo, const char *host, int port, bool replication, char *error, size_t error_size)
{
	char		text[16];
	char	   *merged;
	PGconn	   *conn;
	const char *keywords[] = {"dbname", "application_name", "connect_timeout", replication ? "replication" : NULL,
							  NULL};
	const char *values[] = {NULL, "pingpong-agent", CONNECT_TIMEOUT_S, "true", NULL};

	snprintf(text, sizeof(text), "%d", port);
	merged = conninfo_merge(conninfo, NULL, host, port > 0 ? text : NULL, NULL);
	if (!merged)
	{
		snprintf(error, error_size, "the connection string cannot be parsed");
		return NULL;
	}
	values[0] = merged;
	conn = PQconnectdbParams(keywords, values, 1);
	free(merged);
	conn = connected(conn, error, error_size);
	if (conn && host && !replication)
		pin_settings(conn);
	return conn;
}

PGconn *
pg_local_or_fail(ActionContext *ctx, const char *dbname, int timeout_ms)
{
	char		error[512];
	PGconn	   *conn = pg_local(ctx->pg, dbname, timeout_ms, error, sizeof(error));

	if (!conn)
		action_fail(ctx, STATE_CONNECTION_FAILURE, "could not connect to PostgreSQL: %s", error);
	return conn;
}

/* False: no answer by the deadline (monotonic), or the connection broke. */
static bool
await_result(PGconn *conn, double deadline)
{
	while (PQisBusy(conn))
	{
		struct pollfd fd = {PQsocket(conn), POLLIN, 0};
		double		left = deadline - clock_monotonic_ms();

		if (left <= 0)
			return false;
		if (poll(&fd, 1, (int) left + 1) < 0 && errno != EINTR)
			return false;
		if (fd.revents && !PQconsumeInput(conn))
			return false;
	}
	return true;
}

/* Nobody can tell what became of the statement: the connection is of no more use, and its status says so. */
static void
break_off(PGconn *conn)
{
	if (PQsocket(conn) >= 0)
		shutdown(PQsocket(conn), SHUT_RDWR);
	(void) PQconsumeInput(conn);
}

/*
 * PQexec() that gives up: statement_timeout is the server's, and a server that hangs (stopped, a dead disk) would
 * hold us for ever. NULL: no answer in time; *late is set then.
 */
static PGresult *
execute(PGconn *conn, const char *sql, int n, const char *const *values, bool *late)
{
	double		deadline = clock_monotonic_ms() + limit_of(conn);
	PGresult   *last = NULL;
	PGresult   *next;

	*late = false;
	/* the simple protocol for statements without parameters: one may be outside of a transaction */
	if (n ? !PQsendQueryParams(conn, sql, n, NULL, values, NULL, NULL, 0) : !PQsendQuery(conn, sql))
		return NULL;
	for (;;)
	{
		if (!await_result(conn, deadline))
		{
			*late = clock_monotonic_ms() >= deadline;
			break_off(conn);
			PQclear(last);
			return NULL;
		}
		next = PQgetResult(conn);
		if (!next)
			return last;
		PQclear(last);
		last = next;
		if (PQresultStatus(last) == PGRES_COPY_BOTH)
			return last;
	}
}

static bool
succeeded(const PGresult *res)
{
	ExecStatusType status = PQresultStatus(res);

	return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_COPY_BOTH;
}

PGresult *
pg_query(PGconn *conn, char *error, size_t error_size, const char *sql, int n, const char *const *values)
{
	bool		late;
	PGresult   *res = execute(conn, sql, n, values, &late);

	if (succeeded(res))
		return res;
	if (error)
		one_line(error, error_size, late ? NO_ANSWER : PQerrorMessage(conn));
	PQclear(res);
	return NULL;
}

int
pg_fail(ActionContext *ctx, PGconn *conn, PGresult *res, const char *what)
{
	const char *state = res ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
	const char *primary = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *detail = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
	const char *hint = res ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
	char		error[512];

	one_line(error, sizeof(error), primary ? primary : PQerrorMessage(conn));
	action_fail(ctx, state ? state : STATE_CONNECTION_FAILURE, "%s: %s", what, error);
	if (detail)
		action_detail(ctx, "%s", detail);
	if (hint)
		action_hint(ctx, "%s", hint);
	return -1;
}

PGresult *
pg_query_or_fail(ActionContext *ctx, PGconn *conn, const char *sql, int n, const char *const *values)
{
	bool		late;
	PGresult   *res = execute(conn, sql, n, values, &late);

	if (succeeded(res))
		return res;
	if (late)
		action_fail(ctx, STATE_CONNECTION_FAILURE, "%s", NO_ANSWER);
	else
		pg_fail(ctx, conn, res, "PostgreSQL refused a statement");
	PQclear(res);
	return NULL;
}

char *
pg_value(PGconn *conn, const char *sql)
{
	PGresult   *res = pg_query(conn, NULL, 0, sql, 0, NULL);
	char	   *value = NULL;

	if (res && PQntuples(res) > 0 && !PQgetisnull(res, 0, 0))
		value = xstrdup(PQgetvalue(res, 0, 0));
	PQclear(res);
	return value;
}

bool
pg_is_true(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	bool		yes = value && strcmp(value, "t") == 0;

	free(value);
	return yes;
}

char *
pg_pingpong_database(PGconn *conn)
{
	char	   *name = pg_value(conn, "SELECT pg_catalog.current_setting('pingpong.database', true)");

	if (name && *name)
		return name;
	free(name);
	return NULL;
}

const char *
pg_pingpong_schema(PGconn *conn)
{
	char	   *there = pg_value(conn, "SELECT pg_catalog.to_regnamespace('pingpong_internal')");
	bool		has_own = there && *there;

	free(there);
	return has_own ? "pingpong_internal" : "pingpong";
}
