/*
 * facts_network.c
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

#include "agent/facts.h"
#include "agent/pg.h"

#define PATIENCE_MS 2000		/* for one answer of a walsender */
#define MAX_CONNECTS 8

/* PQexec() that gives up: a server that hangs must not hang us. */
static PGresult *
ask(PGconn *conn, const char *sql, char *error, size_t error_size)
{
	double		deadline = clock_monotonic_ms() + PATIENCE_MS;
	PGresult   *res = NULL;
	PGresult   *next;

	if (!PQsendQuery(conn, sql))
	{
		snprintf(error, error_size, "%s: could not send", sql);
		return NULL;
	}
	while (PQisBusy(conn))
	{
		struct pollfd pfd = {.fd = PQsocket(conn), .events = POLLIN};
		double		left = deadline - clock_monotonic_ms();

		if (left <= 0 || (poll(&pfd, 1, (int) left + 1) > 0 && !PQconsumeInput(conn)))
		{
			snprintf(error, error_size, "%s: %s", sql, left <= 0 ? "no answer" : "the connection was lost");
			return NULL;
		}
	}
	while ((next = PQgetResult(conn)) != NULL)
	{
		PQclear(res);
		res = next;
		if (PQstatus(conn) != CONNECTION_OK)
			break;
	}
	if (res && PQresultStatus(res) == PGRES_TUPLES_OK)
		return res;
	snprintf(error, error_size, "%s: %s", sql, res ? PQresultErrorMessage(res) : "no answer");
	error[strcspn(error, "\n")] = '\0';
	PQclear(res);
	return NULL;
}

/* A walsender connection with our own credentials: what a standby needs. */
static bool
try_replication(const AgentConfig *config, const char *host, int port, json_t *answer, char *error, size_t error_size)
{
	PGconn	   *conn;
	PGresult   *res;

	if (!config->pg.present)
	{
		snprintf(error, error_size, "this agent has no PostgreSQL");
		return false;
	}
	conn = pg_remote(config->pg.replication, host, port, true, error, error_size);
	if (!conn)
		return false;
	res = ask(conn, "IDENTIFY_SYSTEM", error, error_size);
	if (res && PQntuples(res) == 1)
	{
		json_object_set_new(answer, "system_identifier", json_string(PQgetvalue(res, 0, 0)));
		json_object_set_new(answer, "timeline", json_string(PQgetvalue(res, 0, 1)));
	}
	PQclear(res);
	PQfinish(conn);
	return res != NULL;
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

static json_t *
try_connection(const AgentConfig *config, json_t *wanted)
{
	const char *host = param_string(wanted, "host", NULL);
	const char *kind = param_string(wanted, "kind", "replication");
	int64_t		port = param_int(wanted, "port", 0);
	double		began = clock_monotonic_ms();
	char		error[512] = "";
	json_t	   *answer = json_pack("{s:s?, s:I, s:s}", "host", host, "port", (json_int_t) port, "kind", kind);
	bool		ok = false;

	if (!host || port < 1 || port > 65535)
		snprintf(error, sizeof(error), "host and port are needed");
	else if (strcmp(kind, "tcp") == 0)
		ok = try_tcp(host, (int) port, error, sizeof(error));
	else
		ok = try_replication(config, host, (int) port, answer, error, sizeof(error));
	json_object_set_new(answer, "ok", json_boolean(ok));
	if (!ok)
		json_object_set_new(answer, "error", json_string(error));
	json_object_set_new(answer, "elapsed_ms", json_real(clock_monotonic_ms() - began));
	return answer;
}

json_t *
facts_connect(const AgentConfig *config, json_t *wanted)
{
	json_t	   *rows = json_array();
	json_t	   *one;
	size_t		i;

	json_array_foreach(wanted, i, one)
		if (i < MAX_CONNECTS)
			json_array_append_new(rows, try_connection(config, one));
	return rows;
}
