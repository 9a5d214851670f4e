/*
 * network.c
 *		Facts about others: connections that are tried for real because a move will need them.
 */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core/clock.h"
#include "agent/facts/network.h"
#include "agent/job/params.h"
#include "agent/pg/pg.h"

#define PATIENCE_MS 2000		/* for one answer of a walsender */

static PGresult *
ask(PGconn *conn, const char *sql, char *error, size_t error_size)
{
	char		why[160];
	PGresult   *res = pg_query(conn, why, sizeof(why), sql, 0, NULL);

	if (!res)
		snprintf(error, error_size, "%s: %s", sql, why);
	return res;
}

/* A value that the walsender tells with SHOW; a name that it does not know, or may not tell, is left out. */
static void
show(PGconn *conn, json_t *answer, const char *member, const char *setting)
{
	char		error[256];
	char		sql[64];
	PGresult   *res;

	snprintf(sql, sizeof(sql), "SHOW %s", setting);
	res = ask(conn, sql, error, sizeof(error));
	if (res && PQntuples(res) == 1)
		json_object_set_new(answer, member, json_string(PQgetvalue(res, 0, 0)));
	PQclear(res);
}

/*
 * A walsender connection with our own credentials: what a standby needs.  What the server
 * calls itself tells whether it is the one that is meant, whatever forwards to it.
 */
static bool
try_replication(const PgInstance *pg, const char *host, int port, json_t *answer, char *error, size_t error_size)
{
	PGconn	   *conn = pg_remote(pg->replication, host, port, true, error, error_size);
	PGresult   *res;
	bool		ok;

	if (!conn)
		return false;
	pg_set_limit(conn, PATIENCE_MS);
	res = ask(conn, "IDENTIFY_SYSTEM", error, error_size);
	ok = res && PQntuples(res) == 1;
	if (ok)
	{
		json_object_set_new(answer, "system_identifier", json_string(PQgetvalue(res, 0, 0)));
		json_object_set_new(answer, "timeline", json_string(PQgetvalue(res, 0, 1)));
		show(conn, answer, "node_name", "pingpong.node_name");
		show(conn, answer, "cluster_name", "cluster_name");
		show(conn, answer, "server_port", "port");
		/* as the server has them: a walsender gets nothing that is set for roles and databases, and we set nothing */
		show(conn, answer, "default_transaction_read_only", "default_transaction_read_only");
		show(conn, answer, "default_transaction_isolation", "default_transaction_isolation");
	}
	PQclear(res);
	PQfinish(conn);
	return ok;
}

/* What pg_rewind reads of its source; a superuser may do all of it. */
#define REWIND_SQL \
	"SELECT pg_catalog.round(extract(epoch FROM pg_catalog.pg_postmaster_start_time()) * 1000)::pg_catalog.int8," \
	" pg_catalog.string_agg(f, ', ') FILTER (WHERE NOT pg_catalog.has_function_privilege(f, 'EXECUTE'))," \
	" pg_catalog.pg_is_in_recovery()" \
	" FROM pg_catalog.unnest(ARRAY['pg_catalog.pg_ls_dir(text,boolean,boolean)', " \
	"'pg_catalog.pg_stat_file(text,boolean)'," \
	" 'pg_catalog.pg_read_binary_file(text)', 'pg_catalog.pg_read_binary_file(text,bigint,bigint,boolean)']) f"

/* The login of pg_rewind, and whether it may read what pg_rewind reads. */
static bool
try_rewind(const PgInstance *pg, const char *host, int port, json_t *answer, char *error, size_t error_size)
{
	PGconn	   *conn = pg_remote(pg->rewind, host, port, false, error, error_size);
	PGresult   *res;
	bool		ok;

	if (!conn)
		return false;
	res = pg_query(conn, error, error_size, REWIND_SQL, 0, NULL);
	ok = res && PQntuples(res) == 1;
	if (ok)
	{
		json_object_set_new(answer, "started_ms", json_integer(strtoll(PQgetvalue(res, 0, 0), NULL, 10)));
		ok = PQgetisnull(res, 0, 1);
		if (!ok)
			snprintf(error, error_size, "it may not execute %s", PQgetvalue(res, 0, 1));
	}
	PQclear(res);
	PQfinish(conn);
	return ok;
}

static int
connect_within(int fd, const struct sockaddr *address, socklen_t size, int timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	int			failure = 0;
	socklen_t	length = sizeof(failure);

	if (connect(fd, address, size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (poll(&pfd, 1, timeout_ms) <= 0)
		return ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length);
	return failure;
}

static bool
try_tcp(const char *host, int port, char *error, size_t error_size)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char		service[16];
	int			rc;

	snprintf(service, sizeof(service), "%d", port);
	rc = getaddrinfo(host, service, &hints, &found);
	if (rc != 0)
	{
		snprintf(error, error_size, "%s", gai_strerror(rc));
		return false;
	}
	rc = EHOSTUNREACH;
	for (struct addrinfo *a = found; a && rc != 0; a = a->ai_next)
	{
		int			fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (fd < 0)
			continue;
		rc = connect_within(fd, a->ai_addr, a->ai_addrlen, PATIENCE_MS);
		close(fd);
	}
	freeaddrinfo(found);
	if (rc != 0)
		snprintf(error, error_size, "%s", strerror(rc));
	return rc == 0;
}

json_t *
facts_connection(const PgInstance *pg, json_t *wanted)
{
	const char *host = param_string(wanted, "host", NULL);
	const char *kind = param_string(wanted, "kind", "replication");
	int64_t		port = param_int(wanted, "port", 0);
	double		began = clock_monotonic_ms();
	char		error[512] = "";
	json_t	   *answer = json_object();
	bool		ok = false;

	if (!host || port < 1 || port > 65535)
		snprintf(error, sizeof(error), "host and port are needed");
	else if (strcmp(kind, "tcp") == 0)
		ok = try_tcp(host, (int) port, error, sizeof(error));
	else if (!pg)
		snprintf(error, sizeof(error), "this agent has no PostgreSQL");
	else if (strcmp(kind, "replication") == 0)
		ok = try_replication(pg, host, (int) port, answer, error, sizeof(error));
	else if (strcmp(kind, "rewind") == 0)
		ok = try_rewind(pg, host, (int) port, answer, error, sizeof(error));
	else
		snprintf(error, sizeof(error), "there is no such kind of connection");
	json_object_set_new(answer, "ok", json_boolean(ok));
	if (!ok)
		json_object_set_new(answer, "error", json_string(error));
	json_object_set_new(answer, "elapsed_ms", json_real(clock_monotonic_ms() - began));
	return answer;
}
