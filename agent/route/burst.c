/*
 * burst.c
 *		Several statements to PgBouncer's console in one write.
 *
 * libpq sends a statement only when the one before is answered. PgBouncer executes together what it finds together,
 * without looking after its clients in between. So RELOAD and RESUME leave no moment in which the login of a client
 * begins a connection that the pause breaks off. And hundreds of PAUSEs need one console, which a PAUSE without an
 * answer blocks for answers only. Therefore the messages are written without libpq, on a connection that is idle.
 * Where it is encrypted that is not possible, and the callers send them one by one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/core/clock.h"
#include "agent/core/text.h"
#include "agent/route/burst.h"
#include "agent/route/console.h"

/*
 * PgBouncer closes a console of which it reads a part of a message.  So whole messages go in one piece (its buffer
 * takes 4096 bytes, a network's packet some 1400), and the next piece when that one has been read.
 */
#define CHUNK 1200
#define BURST_AGAIN_MS 20
#define MARK "SHOW VERSION"		/* is answered after a PAUSE, whether that is answered or not */

bool
burst_possible(PGconn *conn)
{
	return conn && PQstatus(conn) == CONNECTION_OK && PQtransactionStatus(conn) == PQTRANS_IDLE &&
		!PQsslInUse(conn) && !PQgssEncInUse(conn);
}

static bool
wait_socket(int fd, short events, double deadline)
{
	struct pollfd pfd = {fd, events, 0};
	double		left = deadline - clock_monotonic_ms();

	return left > 0 && (poll(&pfd, 1, (int) left + 1) > 0 || errno == EINTR);
}

static int
send_bytes(int fd, const Text *bytes, double deadline)
{
	size_t		sent = 0;

	while (sent < bytes->size)
	{
		ssize_t		n = send(fd, bytes->data + sent, bytes->size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n > 0)
			sent += n;
		else if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -1;
		else if (!wait_socket(fd, POLLOUT, deadline))
			return -1;
	}
	return 0;
}

/* A simple query, as the protocol has it */
static void
add_query(Text *bytes, const char *sql)
{
	uint32_t	len = htonl((uint32_t) (strlen(sql) + 5));

	text_add(bytes, "Q", 1);
	text_add(bytes, (const char *) &len, 4);
	text_add(bytes, sql, strlen(sql) + 1);
}

/* The message field of an ErrorResponse */
static void
take_error(const char *body, size_t len, char *error, size_t error_size)
{
	const char *end = body + len;

	for (const char *p = body; p < end && *p; p += strnlen(p, end - p) + 1)
		if (*p == 'M')
			snprintf(error, error_size, "%.*s", (int) strnlen(p + 1, end - p - 1), p + 1);
}

int
burst_read(PGconn *conn, BurstReader *reader)
{
	char		buffer[4096];
	ssize_t		n = recv(PQsocket(conn), buffer, sizeof(buffer), MSG_DONTWAIT);
	Text		bytes = {reader->rest, reader->rest_size};
	size_t		at = 0;
	uint32_t	len;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	text_add(&bytes, buffer, n);
	for (; bytes.size - at >= 5; at += len + 1)
	{
		memcpy(&len, bytes.data + at + 1, 4);
		len = ntohl(len);
		if (len < 4 || len > 1000000)
		{
			reader->rest = bytes.data;
			return -1;			/* no protocol that we know */
		}
		if (bytes.size - at < len + 1)
			break;
		if (bytes.data[at] == 'E')
		{
			take_error(bytes.data + at + 5, len - 4, reader->error, sizeof(reader->error));
			if (!reader->first_error[0])
				memcpy(reader->first_error, reader->error, sizeof(reader->error));
		}
		else if (bytes.data[at] == 'C' && len > 8 && strncmp(bytes.data + at + 5, "SHOW", 4) == 0)
			reader->shows++;
		else if (bytes.data[at] == 'Z')
		{
			reader->answered++;
			if (reader->note)
				reader->note(reader);
			reader->error[0] = '\0';
		}
	}
	memmove(bytes.data, bytes.data + at, bytes.size - at);
	reader->rest = bytes.data;
	reader->rest_size = bytes.size - at;
	return 0;
}

void
burst_end(BurstReader *reader)
{
	free(reader->rest);
	reader->rest = NULL;
	reader->rest_size = 0;
}

/* As many statements as go into one chunk; gives the number of the next one. */
static int
fill_chunk(Text *bytes, char *const *statements, int next)
{
	bytes->size = 0;
	while (statements[next] && (bytes->size == 0 || bytes->size + strlen(statements[next]) + 6 <= CHUNK))
		add_query(bytes, statements[next++]);
	return next;
}

int
burst_send(PGconn *conn, char *const *statements, BurstReader *reader, double deadline)
{
	Text		bytes = {0};
	int			rc = 0;

	for (int next = 0; rc == 0 && statements[next];)
	{
		int			marks = reader->shows + 1;

		next = fill_chunk(&bytes, statements, next);
		add_query(&bytes, MARK);
		rc = send_bytes(PQsocket(conn), &bytes, deadline);
		while (rc == 0 && reader->shows < marks)
			rc = wait_socket(PQsocket(conn), POLLIN, deadline) ? burst_read(conn, reader) : -1;
	}
	free(bytes.data);
	return rc;
}

static void
note_answer(BurstReader *reader)
{
	BurstAnswer *answer = &reader->answers[reader->answered - 1];

	answer->ok = reader->error[0] == '\0';
	snprintf(answer->error, sizeof(answer->error), "%s", reader->error);
}

/* All statements with their answers on one connection; -1: it is of no use any more. */
static int
run_on(PGconn *conn, char *const *statements, BurstAnswer *answers, double deadline)
{
	BurstReader reader = {.answers = answers, .note = note_answer};
	Text		bytes = {0};
	int			rc = 0;

	for (int next = 0; rc == 0 && statements[next];)
	{
		next = fill_chunk(&bytes, statements, next);
		rc = send_bytes(PQsocket(conn), &bytes, deadline);
		while (rc == 0 && reader.answered < next)
			rc = wait_socket(PQsocket(conn), POLLIN, deadline) ? burst_read(conn, &reader) : -1;
	}
	free(bytes.data);
	burst_end(&reader);
	return rc;
}

static int
run_one_by_one(Endpoint *endpoint, const BouncerConfig *bouncer, char *const *statements, BurstAnswer *answers,
			   double deadline)
{
	for (int i = 0; statements[i]; i++)
	{
		PGresult   *res = admin_control(endpoint, bouncer, statements[i], deadline, answers[i].error,
										sizeof(answers[i].error));

		answers[i].ok = res != NULL;
		PQclear(res);
		if (!answers[i].ok && !endpoint->control)
			return -1;
	}
	return 0;
}

int
burst_run(Endpoint *endpoint, const BouncerConfig *bouncer, char *const *statements, BurstAnswer *answers,
		  double deadline,
		  char *error, size_t error_size)
{
	snprintf(error, error_size, "PgBouncer does not answer");
	for (;;)
	{
		double		limit = clock_monotonic_ms() + admin_timeout_ms(bouncer);

		if (!endpoint->control)
			endpoint->control = admin_connect(bouncer, error, error_size);
		if (endpoint->control && !burst_possible(endpoint->control))
			return run_one_by_one(endpoint, bouncer, statements, answers, deadline);
		if (endpoint->control && run_on(endpoint->control, statements, answers,
										limit < deadline ? limit : deadline) == 0)
			return 0;
		PQfinish(endpoint->control);
		endpoint->control = NULL;
		if (clock_monotonic_ms() + BURST_AGAIN_MS > deadline)
			return -1;
		sleep_ms(BURST_AGAIN_MS);
	}
}
