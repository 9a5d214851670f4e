/*
 * server.c
 *		The HTTP front: a thread for each connection (a long poll blocks it).
 *
 * The body is limited before it is read. Of a request only method, path and status are ever logged.
 */
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/http/access.h"
#include "agent/http/answer.h"
#include "agent/http/certificate.h"
#include "agent/http/door.h"
#include "agent/http/listen.h"
#include "agent/http/plain.h"
#include "agent/http/routes.h"
#include "agent/http/server.h"
#include "agent/http/tls.h"
#include "common/names.h"
#include "common/sqlstate.h"

#define CLIENT_CA_MAX (256 * 1024)

static struct MHD_Daemon *server;
static char *unix_path;			/* to be removed at the end */

/* What a stranger sent goes to a log that people read on terminals: no control characters. */
static void
printable(char *to, size_t size, const char *from)
{
	size_t		n = 0;

	for (; *from && n + 1 < size; from++)
		to[n++] = *from > ' ' && *from <= '~' ? *from : '?';
	to[n] = '\0';
}

/* At most one line a second: a wrong token in a loop must not fill the log. */
static void
log_refusal(const char *method, const char *path, unsigned int status)
{
	static _Atomic long last;
	long		now = (long) (clock_monotonic_ms() / 1000);
	char		verb[16];
	char		place[128];

	if (last == now)
		return;
	last = now;
	printable(verb, sizeof(verb), method);
	printable(place, sizeof(place), path);
	log_warning("refused %s %s: %u", verb, place, status);
}

/* The head of a request has come: everything that can be refused without its body. */
static enum MHD_Result
begin_request(struct MHD_Connection *connection, const char *path, const char *method, void **state)
{
	Request    *request = xalloc(sizeof(Request));
	const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	bool		other_method;
	char		why[128];
	RouteAccess access;
	Answer		answer = {0};
	DoorAnswer	door = DOOR_OPEN;

	*state = request;
	request->connection = connection;
	request->route = route_find(method, path, request, &other_method);
	access = request->route ? access_needed(request->route->access) : ACCESS_CONTROLLER;
	request->stranger = access == ACCESS_ANYONE;
	answer.password = access == ACCESS_MONITOR;
	if (!access_allowed(connection, access, why, sizeof(why)))
		answer_error(&answer, MHD_HTTP_UNAUTHORIZED, STATE_INVALID_AUTHORIZATION, NULL, "%s", why);
	/* without credentials it stays a stranger, with little time */
	else if (access != ACCESS_ANYONE && (door = door_admit(connection)) == DOOR_GONE)
		return MHD_NO;
	else if (door == DOOR_FULL)
		answer_error(&answer, MHD_HTTP_SERVICE_UNAVAILABLE, STATE_TOO_MANY_CONNECTIONS, NULL,
					 "too many requests at a time");
	else if (!request->route)
		answer_error(&answer, other_method ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND,
					 STATE_UNDEFINED_OBJECT, NULL, "no such resource");
	else if (length && strtoull(length, NULL, 10) > PINGPONG_BODY_MAX)
		answer_error(&answer, MHD_HTTP_CONTENT_TOO_LARGE, STATE_LIMIT_EXCEEDED, NULL,
					 "the request is larger than 64 kB");
	if (!answer.status)
		return MHD_YES;
	log_refusal(method, path, answer.status);
	return answer_send(connection, &answer);
}

static enum MHD_Result
handle(void *unused, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
	   const char *data, size_t *size, void **state)
{
	Request    *request = *state;
	Answer		answer = {0};

	if (!request)
		return begin_request(connection, path, method, state);
	if (*size > 0)
	{
		if (request->body.size + *size > PINGPONG_BODY_MAX)
			request->too_large = true;	/* chunked: read on, keep nothing, answer at the end */
		else
			text_add(&request->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (!request->route)
		return MHD_NO;
	door_working(connection);
	if (request->too_large)
		answer_error(&answer, MHD_HTTP_CONTENT_TOO_LARGE, STATE_LIMIT_EXCEEDED, NULL,
					 "the request is larger than 64 kB");
	else
	{
		request->route->handler(request, &answer);
		answer.last = request->stranger;	/* it stays a stranger, whose connection is closed soon anyway */
	}
	return answer_send(connection, &answer);
}

static void
completed(void *unused, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode why)
{
	Request    *request = *state;

	door_idle(connection);
	if (!request)
		return;
	free(request->body.data);
	free(request);
	*state = NULL;
}

/* ---- start and stop ---- */

/* A line in the log, because a certificate that says nothing about its use is accepted from any owner. */
static void
log_client_rule(const AgentConfig *config)
{
	if (config->tls_client_ca && !config->tls_client_names)
		log_warning("each certificate of \"%s\" that is for client authentication, or does not "
					"say what it is for, may "
					"control this agent; \"tls_client_names\" names those who may", config->tls_client_ca);
	if (config->tls_client_ca && certificate_serves_as_client(config))
		log_warning("a certificate like the agent's own (\"%s\") would do: it is of that CA and "
					"does not say that it is for "
					"a server", config->tls_cert);
}

static int
load_tls(const AgentConfig *config, char *error, size_t error_size)
{
	if (tls_load(config, error, error_size) < 0)
		return -1;
	if (!config->tls_client_ca)
		return 0;
	access_client_ca = file_read(config->tls_client_ca, CLIENT_CA_MAX, NULL);
	if (access_client_ca)
	{
		log_client_rule(config);
		return 0;
	}
	snprintf(error, error_size, "could not read \"%s\": %s", config->tls_client_ca, strerror(errno));
	return -1;
}

static bool
same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int
http_reload(const AgentConfig *old, const AgentConfig *config, char *error, size_t error_size)
{
	char	   *authorities = config->tls_client_ca ? file_read(config->tls_client_ca, CLIENT_CA_MAX, NULL) : NULL;
	int			reason = errno;
	bool		same_authorities = same_text(authorities, access_client_ca);

	free(authorities);
	if (config->tls_client_ca && !authorities)
		snprintf(error, error_size, "could not read \"%s\": %s", config->tls_client_ca, strerror(reason));
	else if (strcmp(config->listen, old->listen) != 0)
		snprintf(error, error_size, "\"listen\" needs a restart");
	else if (!same_text(config->health_listen, old->health_listen))
		snprintf(error, error_size, "\"health_listen\" needs a restart");
	else if (!config->tls_cert != !old->tls_cert)
		snprintf(error, error_size, "TLS needs a restart");
	else if (!same_authorities)
		snprintf(error, error_size, "the contents of \"tls_client_ca\" need a restart");
	else
		return tls_load(config, error, error_size);
	return -1;
}

static int
open_socket(const AgentConfig *config, char *error, size_t error_size)
{
	ListenAddress address;
	int			fd = -1;

	if (listen_parse(config->listen, &address) == 0)
		fd = listen_open(&address);
	if (fd < 0)
		snprintf(error, error_size, "could not listen on \"%s\": %s", config->listen, strerror(errno));
	else if (address.address.any.sa_family == AF_UNIX)
		unix_path = xstrdup(address.address.unix_.sun_path);
	return fd;
}

int
http_start(char *error, size_t error_size)
{
	AgentConfig *config = config_current();
	unsigned int flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
		MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC;
	struct MHD_OptionItem tls[4] = {{MHD_OPTION_END, 0, NULL}};
	bool		with_tls = config->tls_cert != NULL;
	int			n = 0;
	int			fd = load_tls(config, error, error_size) < 0 ? -1 : open_socket(config, error, error_size);

	if (fd >= 0 && config->health_listen && plain_start(config->health_listen, error, error_size) < 0)
	{
		close(fd);
		fd = -1;
	}
	config_release(config);
	if (fd < 0)
		return -1;
	if (with_tls)
	{
		flags |= MHD_USE_TLS;
		tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *) tls_certificate};
		if (access_client_ca)
			tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_TRUST, 0, access_client_ca};
		tls[n] = (struct MHD_OptionItem) {MHD_OPTION_END, 0, NULL};
	}
	/* not the library's time-out: that is one of idleness, and the door has its own */
	server = MHD_start_daemon(flags, 0, NULL, NULL, handle, NULL,
							  MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
							  MHD_OPTION_NOTIFY_CONNECTION, door_notify, NULL,
							  MHD_OPTION_CONNECTION_LIMIT, (unsigned int) DOOR_CONNECTIONS_MAX,
							  MHD_OPTION_THREAD_STACK_SIZE, (size_t) (512 * 1024),
							  MHD_OPTION_ARRAY, tls,
							  MHD_OPTION_END);
	if (!server)
	{
		close(fd);
		snprintf(error, error_size, "could not start the HTTP server%s",
				 access_client_ca ? ": does \"tls_client_ca\" hold certificates?" : "");
		return -1;
	}
	if (door_open(server, fd, with_tls) == 0)
		return 0;
	snprintf(error, error_size, "could not start a thread: %s", strerror(errno));
	return -1;
}

void
http_stop(void)
{
	if (server)
	{
		door_close();
		MHD_stop_daemon(server);
	}
	server = NULL;
	if (unix_path)
		unlink(unix_path);
}
