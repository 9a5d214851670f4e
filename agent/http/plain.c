/*
 * plain.c
 *		A second socket, "health_listen": answers the paths of health.h and nothing else, without TLS.
 *
 * A connection has little time to send a head, and may then be kept while it asks. When all places are taken, the one
 * that has been silent for longest makes room: a newcomer always gets in. Nothing that is sent here is kept, logged
 * or passed on, so there is nothing that a hostile client could change.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/http/health.h"
#include "agent/http/listen.h"
#include "agent/http/plain.h"

#define CALLERS_MAX 256
#define EVENTS 64
#define HEAD_MS 5000			/* accepted, or the last answer given, to a complete head */
#define IDLE_MS 60000			/* between two requests */
#define TICK_MS 1000
#define NO_DESCRIPTORS_MS 100

typedef struct Caller
{
	int			fd;				/* -1: the place is free */
	double		heard_at;		/* monotonic */
	double		deadline;
	bool		over;			/* its last answer was sent; what it still sends is dropped */
	size_t		size;
	char		head[PLAIN_HEAD_MAX + 1];
} Caller;

static Caller callers[CALLERS_MAX];
static int	listener = -1;
static int	events_fd = -1;

/* ---- one request ---- */

/* The value of a header in the lines behind the first one, which are cut at their ends; NULL: there is none. */
static const char *
header_value(char *const *lines, int n, const char *name)
{
	size_t		len = strlen(name);

	for (int i = 1; i < n; i++)
		if (strncasecmp(lines[i], name, len) == 0 && lines[i][len] == ':')
			return lines[i] + len + 1 + strspn(lines[i] + len + 1, " \t");
	return NULL;
}

static int
split_lines(char *head, char **lines, int max)
{
	int			n = 0;
	char	   *line;

	while (n < max && (line = strsep(&head, "\n")) != NULL)
	{
		size_t		len = strlen(line);

		if (len > 0 && line[len - 1] == '\r')
			line[len - 1] = '\0';
		lines[n++] = line;
	}
	return n;
}

/* The value of "lag" in what is right of "?"; it is cut off there. */
static const char *
lag_of(char *query)
{
	char	   *part;

	while ((part = strsep(&query, "&")) != NULL)
		if (strncmp(part, "lag=", 4) == 0)
			return part + 4;
	return NULL;
}

static bool
is_path(const char *path, const char *method)
{
	if (strcmp(path, "/") == 0 && strcmp(method, "OPTIONS") != 0)
		return false;			/* as on the agent's other socket, where it is the status page */
	for (int n = 0; health_path(n); n++)
		if (strcmp(health_path(n), path) == 0)
			return true;
	return false;
}

static bool
is_method(const char *method)
{
	return strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0 || strcmp(method, "OPTIONS") == 0;
}

static const char *
reason_of(unsigned status)
{
	return status == 200 ? "OK" : status == 503 ? "Service Unavailable" : status == 404 ? "Not Found" :
		status == 405 ? "Method Not Allowed" : "Bad Request";
}

/* A request with a body is answered, and the connection ends: nothing is read into the next request. */
static bool
may_be_kept(char *const *lines, int n, const char *version)
{
	const char *connection = header_value(lines, n, "Connection");
	const char *length = header_value(lines, n, "Content-Length");

	if (header_value(lines, n, "Transfer-Encoding") || (length && strcmp(length, "0") != 0))
		return false;
	if (strcmp(version, "HTTP/1.1") == 0)
		return !connection || strcasecmp(connection, "close") != 0;
	return connection && strcasecmp(connection, "keep-alive") == 0;
}

bool
plain_answer(char *head, char *answer, size_t answer_size)
{
	char	   *lines[PLAIN_HEAD_MAX / 2];
	int			n = split_lines(head, lines, PLAIN_HEAD_MAX / 2);
	char	   *rest = n > 0 ? lines[0] : NULL;
	char	   *method = rest ? strsep(&rest, " ") : NULL;
	char	   *path = rest ? strsep(&rest, " ") : NULL;
	const char *version = rest ? rest : "";
	char	   *query = path;
	const char *lag;
	const char *word = "no such resource";
	unsigned	status = 400;
	bool		keep;

	if (query)
		path = strsep(&query, "?");
	lag = query ? lag_of(query) : NULL;
	keep = may_be_kept(lines, n, version);
	if (!path || path[0] != '/' || (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0))
		word = "bad request", keep = false;
	else if (!is_method(method))
		status = 405, keep = false;
	else if (!is_path(path, method))
		status = 404;
	else if ((status = health_now(path, lag, &word)) == 400)
		word = "lag must be a size, as 1048576 or 16MB";
	snprintf(answer, answer_size, "HTTP/1.1 %u %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
			 "Cache-Control: no-store\r\nConnection: %s\r\n\r\n%s%s", status, reason_of(status), strlen(word) + 1,
			 keep ? "keep-alive" : "close", method && strcmp(method, "HEAD") == 0 ? "" : word,
			 method && strcmp(method, "HEAD") == 0 ? "" : "\n");
	return keep;
}

/* ---- connections ---- */

static void
hang_up(Caller *caller)
{
	close(caller->fd);
	caller->fd = -1;
}

/* Its end of the head, behind the empty line; NULL: it is not complete. */
static char *
end_of_head(Caller *caller)
{
	char	   *crlf = strstr(caller->head, "\r\n\r\n");
	char	   *lf = strstr(caller->head, "\n\n");

	if (crlf && (!lf || crlf < lf))
		return crlf + 4;
	return lf ? lf + 2 : NULL;
}

/* Answers what is complete; false: the connection has ended. */
static bool
serve(Caller *caller)
{
	char		answer[PLAIN_ANSWER_MAX];
	char	   *end;

	while (!caller->over && (end = end_of_head(caller)) != NULL)
	{
		size_t		rest = caller->head + caller->size - end;
		bool		keep;
		size_t		size;

		end[-1] = '\0';
		keep = plain_answer(caller->head, answer, sizeof(answer));
		size = strlen(answer);
		/* so little goes into the socket's buffer at once, unless its client does not read */
		if (send(caller->fd, answer, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) size ||
			(!keep && rest == 0))
		{
			hang_up(caller);
			return false;
		}
		memmove(caller->head, end, rest + 1);
		caller->size = rest;
		caller->deadline = clock_monotonic_ms() + (rest > 0 ? HEAD_MS : IDLE_MS);
		if (!keep)
		{
			/* closed with unread bytes, its client might not get the answer */
			shutdown(caller->fd, SHUT_WR);
			caller->over = true;
			caller->deadline = clock_monotonic_ms() + TICK_MS;
		}
	}
	return true;
}

static void
hear(Caller *caller)
{
	ssize_t		n;

	if (caller->over)
		caller->size = 0;
	n = recv(caller->fd, caller->head + caller->size, PLAIN_HEAD_MAX - caller->size, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
	{
		hang_up(caller);
		return;
	}
	if (caller->over)
		return;
	caller->heard_at = clock_monotonic_ms();
	if (caller->size == 0)
		caller->deadline = caller->heard_at + HEAD_MS;
	caller->size += n;
	caller->head[caller->size] = '\0';
	if (memchr(caller->head, '\0', caller->size) != NULL)
		hang_up(caller);		/* no text: it could not be searched */
	else if (serve(caller) && caller->size == PLAIN_HEAD_MAX)
		hang_up(caller);		/* a head that long is none of a load balancer */
}

/* A free place, or that of the caller that was silent for longest. */
static Caller *
place(void)
{
	Caller	   *oldest = &callers[0];

	for (int i = 0; i < CALLERS_MAX; i++)
	{
		if (callers[i].fd < 0)
			return &callers[i];
		if (callers[i].heard_at < oldest->heard_at)
			oldest = &callers[i];
	}
	hang_up(oldest);
	return oldest;
}

/* False: there are no descriptors, or no memory. */
static bool
let_in(void)
{
	int			fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	Caller	   *caller;
	struct epoll_event event = {.events = EPOLLIN};

	if (fd < 0)
		return errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM;
	caller = place();
	caller->fd = fd;
	caller->size = 0;
	caller->over = false;
	caller->heard_at = clock_monotonic_ms();
	caller->deadline = caller->heard_at + HEAD_MS;
	event.data.ptr = caller;
	hear(caller);				/* often it has sent its request already */
	if (caller->fd >= 0 && epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &event) < 0)
		hang_up(caller);
	return true;
}

static bool
hang_up_late(double now)
{
	bool		any = false;

	for (int i = 0; i < CALLERS_MAX; i++)
	{
		if (callers[i].fd >= 0 && callers[i].deadline < now)
			hang_up(&callers[i]);
		any = any || callers[i].fd >= 0;
	}
	return any;
}

static void *
plain_main(void *unused)
{
	double		looked_at = 0;
	bool		any = false;

	for (;;)
	{
		struct epoll_event events[EVENTS];
		int			n = epoll_wait(events_fd, events, EVENTS, any ? TICK_MS : -1);
		double		now = clock_monotonic_ms();

		/* newcomers last: one of them may get the place of a caller that has an event here */
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr && ((Caller *) events[i].data.ptr)->fd >= 0)
				hear(events[i].data.ptr);
		for (int i = 0; i < n; i++)
			if (!events[i].data.ptr && !let_in())
				sleep_ms(NO_DESCRIPTORS_MS);
		if (n > 0)
			any = true;
		if (now - looked_at >= TICK_MS)
		{
			any = hang_up_late(now);
			looked_at = now;
		}
	}
	return NULL;
}

int
plain_start(const char *listen, char *error, size_t error_size)
{
	ListenAddress address;
	pthread_t	thread;
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	for (int i = 0; i < CALLERS_MAX; i++)
		callers[i].fd = -1;
	if (listen_parse(listen, &address) == 0)
		listener = listen_open(&address);
	if (listener < 0)
		snprintf(error, error_size, "could not listen on \"%s\": %s", listen, strerror(errno));
	else if ((events_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
			 epoll_ctl(events_fd, EPOLL_CTL_ADD, listener, &event) < 0 ||
			 (errno = pthread_create(&thread, NULL, plain_main, NULL)) != 0)
		snprintf(error, error_size, "could not serve \"%s\": %s", listen, strerror(errno));
	else
	{
		pthread_detach(thread);
		return 0;
	}
	return -1;
}
