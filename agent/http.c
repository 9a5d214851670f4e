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

#include "agent/http.h"
#include "agent/jobs.h"
#include "agent/text.h"

#define CONNECTIONS_MAX 64
#define IDLE_TIMEOUT_S 300		/* of a connection that has shown the token */
#define STRANGER_TIMEOUT_S 15	/* others may not hold the few connections that there are */

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
static char *tls_cert;			/* contents; libmicrohttpd does not copy them */
static char *tls_key;
static char *tls_client_ca;

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

/* A client certificate that our CA signed is as good as the token. */
static bool
certificate_verified(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info;
	unsigned int size = 0;
	unsigned int status = ~0u;

	if (!tls_client_ca)
		return false;
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	return info && gnutls_certificate_get_peers(info->tls_session, &size) && size > 0 &&
		gnutls_certificate_verify_peers2(info->tls_session, &status) == GNUTLS_E_SUCCESS && status == 0;
}

static bool
authorized(struct MHD_Connection *connection, RouteAccess access)
{
	const char *header = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
	AgentConfig *config;
	bool		equal;

	if (access != ACCESS_CONTROLLER)
		return false;
	config = config_current();
	equal = config->token && header && strncasecmp(header, "Bearer ", 7) == 0 &&
		token_equal(header + 7, config->token);
	config_release(config);
	return equal || certificate_verified(connection);
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
	rc = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return rc;
}

/* At most one line a second: a wrong token in a loop must not fill the log. */
static void
log_refusal(const char *method, const char *path, unsigned int status)
{
	static _Atomic long last;
	long		now = (long) (clock_monotonic_ms() / 1000);

	if (last == now)
		return;
	last = now;
	log_warning("refused %s %.200s: %u", method, path, status);
}

/* The head of a request has come: everything that can be refused without its body. */
static enum MHD_Result
begin_request(struct MHD_Connection *connection, const char *path, const char *method, void **state)
{
	Request    *request = xalloc(sizeof(Request));
	const char *length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
	bool		other_method;
	json_t	   *answer = NULL;
	unsigned int status = 0;

	*state = request;
	request->connection = connection;
	request->route = route_find(method, path, request, &other_method);
	if (!authorized(connection, request->route ? request->route->access : ACCESS_CONTROLLER))
		status = error_answer(&answer, MHD_HTTP_UNAUTHORIZED, "28000", NULL, "no or wrong token");
	else if (!request->route)
		status = error_answer(&answer, other_method ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND,
							  STATE_UNDEFINED_OBJECT, NULL, "no such resource");
	else if (length && strtoull(length, NULL, 10) > PINGPONG_BODY_MAX)
		status = error_answer(&answer, MHD_HTTP_CONTENT_TOO_LARGE, "54000", NULL, "the request is larger than 64 kB");
	if (!status)
	{
		MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned int) IDLE_TIMEOUT_S);
		return MHD_YES;
	}
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

	if (!request)
		return;
	free(request->body.data);
	free(request);
	*state = NULL;
}

/* ---- start and stop ---- */

static char *
read_pem(const char *path, char *error, size_t error_size)
{
	char	   *text = path ? file_read(path, 256 * 1024, NULL) : NULL;

	if (path && !text && !error[0])
		snprintf(error, error_size, "could not read \"%s\": %s", path, strerror(errno));
	return text;
}

static int
load_tls(const AgentConfig *config, char *error, size_t error_size)
{
	error[0] = '\0';
	tls_cert = read_pem(config->tls_cert, error, error_size);
	tls_key = read_pem(config->tls_key, error, error_size);
	tls_client_ca = read_pem(config->tls_client_ca, error, error_size);
	return error[0] ? -1 : 0;
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
	unsigned int flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL;
	struct MHD_OptionItem tls[4] = {{MHD_OPTION_END, 0, NULL}};
	int			n = 0;
	int			fd = load_tls(config, error, error_size) < 0 ? -1 : open_socket(config, error, error_size);

	config_release(config);
	if (fd < 0)
		return -1;
	if (tls_cert)
	{
		flags |= MHD_USE_TLS;
		tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_CERT, 0, tls_cert};
		tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_KEY, 0, tls_key};
		if (tls_client_ca)
			tls[n++] = (struct MHD_OptionItem) {MHD_OPTION_HTTPS_MEM_TRUST, 0, tls_client_ca};
		tls[n] = (struct MHD_OptionItem) {MHD_OPTION_END, 0, NULL};
	}
	server = MHD_start_daemon(flags, 0, NULL, NULL, handle, NULL,
							  MHD_OPTION_LISTEN_SOCKET, fd,
							  MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
							  MHD_OPTION_CONNECTION_LIMIT, (unsigned int) CONNECTIONS_MAX,
							  MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int) STRANGER_TIMEOUT_S,
							  MHD_OPTION_THREAD_STACK_SIZE, (size_t) (512 * 1024),
							  MHD_OPTION_ARRAY, tls,
							  MHD_OPTION_END);
	if (server)
		return 0;
	close(fd);
	snprintf(error, error_size, "could not start the HTTP server%s",
			 tls_cert ? ": is the certificate that of the key?" : "");
	return -1;
}

void
http_stop(void)
{
	if (server)
		MHD_stop_daemon(server);
	server = NULL;
	if (unix_path)
		unlink(unix_path);
}
