/*
 * http.c
 *		The HTTP front: a thread a connection (a long poll blocks it), a table of routes.
 *
 * Who may call is part of the table and refused by default.  The body is limited before
 * it is read; nothing of a request but method, path and status is ever logged.
 */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/certificate.h"
#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/door.h"
#include "agent/http.h"
#include "agent/job/epoch.h"
#include "agent/job/jobs.h"
#include "agent/job/sqlstate.h"
#include "agent/listen.h"
#include "agent/tls.h"
#include "common/names.h"

#define CLIENT_CA_MAX (256 * 1024)

typedef struct Request
{
	struct MHD_Connection *connection;
	const struct Route *route;
	char		run[PINGPONG_KEY_MAX + 1];	/* of a path with a key */
	char		step[PINGPONG_KEY_MAX + 1];
	Text		body;
	bool		too_large;
} Request;

typedef enum RouteAccess
{
	ACCESS_DENIED, ACCESS_CONTROLLER
} RouteAccess;

typedef unsigned int (*RouteHandler) (Request *request, json_t **answer);

typedef struct Route
{
	const char *method;
	const char *path;			/* "*" stands for one part */
	RouteAccess access;
	RouteHandler handler;
} Route;

static unsigned int get_ping(Request *request, json_t **answer);
static unsigned int get_jobs(Request *request, json_t **answer);
static unsigned int post_job(Request *request, json_t **answer);
static unsigned int get_job(Request *request, json_t **answer);
static unsigned int cancel_job(Request *request, json_t **answer);

static const Route routes[] = {
	{"GET", "/v1/ping", ACCESS_CONTROLLER, get_ping},
	{"GET", "/v1/jobs", ACCESS_CONTROLLER, get_jobs},
	{"POST", "/v1/jobs", ACCESS_CONTROLLER, post_job},
	{"GET", "/v1/jobs/*/*", ACCESS_CONTROLLER, get_job},
	{"POST", "/v1/jobs/*/*/cancel", ACCESS_CONTROLLER, cancel_job},
};

static struct MHD_Daemon *server;
static char *unix_path;			/* to be removed at the end */
static char *tls_client_ca;		/* contents; libmicrohttpd does not copy them */

static unsigned int
error_answer(json_t **answer, unsigned int status, const char *code, const char *hint, const char *format,...)
{
	va_list		args;
	char		message[512];
	json_t	   *text;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	*answer = json_pack("{s:{s:s, s:o, s:n, s:o}}", "error", "code", code,
						"message", text ? text : json_string("bad request"), "detail",
						"hint", hint ? json_string(hint) : json_null());
	return status;
}

/* ---- handlers ---- */

static int64_t
query_int(Request *request, const char *name)
{
	const char *value = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);

	return value ? strtoll(value, NULL, 10) : 0;
}

static unsigned int
get_ping(Request *request, json_t **answer)
{
	AgentConfig *config = config_current();

	*answer = json_pack("{s:s, s:s, s:s, s:I, s:f}", "agent", "pingpong-agent", "version", PINGPONG_AGENT_VERSION,
						"node", config->node, "epoch", (json_int_t) epoch_current(), "clock_ms", clock_realtime_ms());
	config_release(config);
	return MHD_HTTP_OK;
}

static unsigned int
get_jobs(Request *request, json_t **answer)
{
	*answer = json_pack("{s:o}", "jobs", jobs_list());
	return MHD_HTTP_OK;
}

static unsigned int
job_status(JobAnswer rc, json_t **answer, const char *error)
{
	switch (rc)
	{
		case JOB_OK:
			return MHD_HTTP_OK;
		case JOB_BAD_REQUEST:
			return error_answer(answer, MHD_HTTP_BAD_REQUEST, STATE_INVALID_PARAMETER, NULL, "%s", error);
		case JOB_UNKNOWN:
			return error_answer(answer, MHD_HTTP_NOT_FOUND, STATE_UNDEFINED_OBJECT, NULL, "no such job");
		case JOB_OLD_EPOCH:
			return error_answer(answer, MHD_HTTP_CONFLICT, STATE_NOT_IN_PREREQUISITE_STATE,
								"The primary has moved since this job was made.",
								"the job's epoch is older than this agent's (%lld)", (long long) epoch_current());
		case JOB_SHUTDOWN:
			break;
	}
	return error_answer(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "57P01", NULL, "the agent is shutting down");
}

static unsigned int
post_job(Request *request, json_t **answer)
{
	json_error_t parse_error;
	json_t	   *body = json_loadb(request->body.data ? request->body.data : "", request->body.size,
								  JSON_REJECT_DUPLICATES, &parse_error);
	char		error[256] = "";
	JobAnswer	rc;

	if (!body)
		return error_answer(answer, MHD_HTTP_BAD_REQUEST, STATE_INVALID_PARAMETER, NULL,
							"the body is not JSON (line %d, column %d)", parse_error.line, parse_error.column);
	rc = jobs_post(body, answer, error, sizeof(error));
	json_decref(body);
	return job_status(rc, answer, error);
}

static unsigned int
get_job(Request *request, json_t **answer)
{
	return job_status(jobs_get(request->run, request->step, query_int(request, "wait_ms"), answer), answer, "");
}

static unsigned int
cancel_job(Request *request, json_t **answer)
{
	return job_status(jobs_cancel(request->run, request->step, answer), answer, "");
}

/* ---- who may call ---- */

bool
token_equal(const char *given, const char *expected)
{
	size_t		given_len = strlen(given);
	size_t		len = strlen(expected);
	unsigned char difference = given_len != len;

	for (size_t i = 0; i < len; i++)
		difference |= (unsigned char) expected[i] ^ (unsigned char) (given_len ? given[i % given_len] : 0);
	return difference == 0;
}

/* A controller's certificate of our CA is as good as the token. */
static ClientVerdict
client_certificate(struct MHD_Connection *connection, const AgentConfig *config)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	return tls_client_ca && info ? certificate_client(info->tls_session, config) : CLIENT_NONE;
}

/* Who was refused may know why: it tells nothing about the token, and a certificate is its own. */
static bool
authorized(struct MHD_Connection *connection, RouteAccess access, char *why, size_t why_size)
{
	const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
	AgentConfig *config;
	ClientVerdict verdict = CLIENT_NONE;
	bool		equal;

	snprintf(why, why_size, "no or wrong token");
	if (access != ACCESS_CONTROLLER)
		return false;
	config = config_current();
	equal = config->token && header && strncasecmp(header, "Bearer ", 7) == 0 &&
		token_equal(header + 7, config->token);
	if (!equal)
		verdict = client_certificate(connection, config);
	if (verdict != CLIENT_NONE)
		snprintf(why, why_size, "%sthe certificate %s", header ? "no or wrong token, and " : "", certificate_verdict_text(verdict));
	else if (!header)
		snprintf(why, why_size, "no %s%s%s", config->token ? "token" : "", config->token && tls_client_ca ? " and no " : "",
				 tls_client_ca ? "certificate" : "");
	config_release(config);
	return equal || verdict == CLIENT_ACCEPTED;
}

/* ---- routing ---- */

/* Matches a path part for part; the parts that stand for "*" are run and step. */
static bool
route_matches(const char *pattern, const char *path, Request *request)
{
	char	   *keys[] = {request->run, request->step};
	int			n = 0;

	while (*pattern && *path)
	{
		if (*pattern == '*')
		{
			size_t		len = strcspn(path, "/");

			if (len > PINGPONG_KEY_MAX || n == 2)
				return false;
			memcpy(keys[n], path, len);
			keys[n++][len] = '\0';
			path += len;
			pattern++;
		}
		else if (*pattern++ != *path++)
			return false;
	}
	return !*pattern && !*path && (n == 0 || (pingpong_key_valid(request->run) && pingpong_key_valid(request->step)));
}

static const Route *
route_find(const char *method, const char *path, Request *request, bool *other_method)
{
	*other_method = false;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (!route_matches(routes[i].path, path, request))
			continue;
		if (strcmp(routes[i].method, method) == 0)
			return &routes[i];
		*other_method = true;
	}
	return NULL;
}

static enum MHD_Result
respond(struct MHD_Connection *connection, unsigned int status, json_t *answer)
{
	char	   *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(16));
	struct MHD_Response *response;
	enum MHD_Result rc;

	json_decref(answer);
	if (!text)
	{
		status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		text = xstrdup("{\"error\":{\"code\":\"XX000\",\"message\":\"no answer\",\"detail\":null,\"hint\":null}}");
	}
	response = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
	if (status == MHD_HTTP_UNAUTHORIZED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
	if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
	if (status == MHD_HTTP_UNAUTHORIZED || status == MHD_HTTP_SERVICE_UNAVAILABLE)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	door_answering(connection);
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

/* What a stranger sent goes to a log that people read on terminals. */
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
	json_t	   *answer = NULL;
	unsigned int status = 0;
	DoorAnswer	door = DOOR_OPEN;

	*state = request;
	request->connection = connection;
	request->route = route_find(method, path, request, &other_method);
	if (!authorized(connection, request->route ? request->route->access : ACCESS_CONTROLLER, why, sizeof(why)))
		status = error_answer(&answer, MHD_HTTP_UNAUTHORIZED, "28000", NULL, "%s", why);
	else if ((door = door_admit(connection)) == DOOR_GONE)
		return MHD_NO;
	else if (door == DOOR_FULL)
		status = error_answer(&answer, MHD_HTTP_SERVICE_UNAVAILABLE, "53300", NULL, "too many requests at a time");
	else if (!request->route)
		status = error_answer(&answer, other_method ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND,
							  STATE_UNDEFINED_OBJECT, NULL, "no such resource");
	else if (length && strtoull(length, NULL, 10) > PINGPONG_BODY_MAX)
		status = error_answer(&answer, MHD_HTTP_CONTENT_TOO_LARGE, "54000", NULL, "the request is larger than 64 kB");
	if (!status)
		return MHD_YES;
	log_refusal(method, path, status);
	return respond(connection, status, answer);
}

static enum MHD_Result
handle(void *unused, struct MHD_Connection *connection, const char *path, const char *method, const char *version,
	   const char *data, size_t *size, void **state)
{
	Request    *request = *state;
	json_t	   *answer = NULL;
	unsigned int status;

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
		status = error_answer(&answer, MHD_HTTP_CONTENT_TOO_LARGE, "54000", NULL, "the request is larger than 64 kB");
	else
		status = request->route->handler(request, &answer);
	return respond(connection, status, answer);
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

/* Who may control is worth a line: a certificate that says nothing about its use passes, whoever has it. */
static void
log_client_rule(const AgentConfig *config)
{
	if (config->tls_client_ca && !config->tls_client_names)
		log_warning("each certificate of \"%s\" that is for client authentication, or does not say what it is for, may "
					"control this agent; \"tls_client_names\" names those who may", config->tls_client_ca);
	if (config->tls_client_ca && certificate_serves_as_client(config))
		log_warning("a certificate like the agent's own (\"%s\") would do: it is of that CA and does not say that it is for "
					"a server", config->tls_cert);
}

static int
load_tls(const AgentConfig *config, char *error, size_t error_size)
{
	if (tls_load(config, error, error_size) < 0)
		return -1;
	if (!config->tls_client_ca)
		return 0;
	tls_client_ca = file_read(config->tls_client_ca, CLIENT_CA_MAX, NULL);
	if (tls_client_ca)
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
	bool		same_authorities = same_text(authorities, tls_client_ca);

	free(authorities);
	if (config->tls_client_ca && !authorities)
		snprintf(error, error_size, "could not read \"%s\": %s", config->tls_client_ca, strerror(reason));
	else if (strcmp(config->listen, old->listen) != 0)
		snprintf(error, error_size, "\"listen\" needs a restart");
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

	config_release(config);
	if (fd < 0)
		return -1;
	if (with_tls)
	{
		flags |= MHD_USE_TLS;
		tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_CERT_CALLBACK, 0, (void *) tls_certificate};
		if (tls_client_ca)
			tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_TRUST, 0, tls_client_ca};
		tls[n] = (struct MHD_OptionItem) {MHD_OPTION_END, 0, NULL};
	}
	/* no time-out of the library's: it is one of idleness, and the door has its own */
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
				 tls_client_ca ? ": does \"tls_client_ca\" hold certificates?" : "");
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
