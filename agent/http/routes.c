/*
 * routes.c
 *		The table of routes, and what each of them does.
 */
#include <jansson.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "agent/arbiter/arbiter.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/nodestate.h"
#include "agent/http/answer.h"
#include "agent/http/health.h"
#include "agent/http/monitor.h"
#include "agent/http/routes.h"
#include "agent/job/claim.h"
#include "agent/job/epoch.h"
#include "agent/job/jobs.h"
#include "common/protocol.h"
#include "common/sqlstate.h"

#define FRESH_MAX_MS 5000

static void get_ping(Request *request, Answer *answer);
static void get_jobs(Request *request, Answer *answer);
static void post_job(Request *request, Answer *answer);
static void get_job(Request *request, Answer *answer);
static void cancel_job(Request *request, Answer *answer);
static void get_health(Request *request, Answer *answer);
static void get_state(Request *request, Answer *answer);
static void get_page(Request *request, Answer *answer);
static void get_metrics(Request *request, Answer *answer);
static void get_snapshot(Request *request, Answer *answer);

#define HEALTH_METHODS "GET HEAD OPTIONS"

static const Route routes[] = {
	{HEALTH_METHODS, "/health", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/primary", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/read-write", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/leader", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/master", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/replica", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/read-only", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/readiness", ACCESS_ANYONE, get_health},
	{HEALTH_METHODS, "/liveness", ACCESS_ANYONE, get_health},
	{"OPTIONS", "/", ACCESS_ANYONE, get_health},
	{"GET", "/", ACCESS_PAGE, get_page},
	{"GET", "/metrics", ACCESS_METRICS, get_metrics},
	{"GET", "/v1/snapshot", ACCESS_PAGE, get_snapshot},
	{"GET", "/v1/state", ACCESS_MONITOR, get_state},
	{"GET", "/v1/ping", ACCESS_CONTROLLER, get_ping},
	{"GET", "/v1/jobs", ACCESS_CONTROLLER, get_jobs},
	{"POST", "/v1/jobs", ACCESS_CONTROLLER, post_job},
	{"GET", "/v1/jobs/*/*", ACCESS_CONTROLLER, get_job},
	{"POST", "/v1/jobs/*/*/cancel", ACCESS_CONTROLLER, cancel_job},
};

/* ---- handlers ---- */

static int64_t
query_int(Request *request, const char *name)
{
	const char *value = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);

	return value ? strtoll(value, NULL, 10) : 0;
}

static void
get_ping(Request *request, Answer *answer)
{
	AgentConfig *config = config_current();
	ClaimNow	claim = claim_current(config);	/* before the epoch, which ends it: as in get_state() */

	answer_json(answer, MHD_HTTP_OK,
				json_pack("{s:s, s:s, s:i, s:s, s:I, s:I, s:f}", "agent", "pingpong-agent", "version",
						  PINGPONG_AGENT_VERSION,
						  "protocol", PINGPONG_PROTOCOL, "node", config->node, "epoch", (json_int_t) epoch_current(),
						  "claimed", (json_int_t) claim.highest.epoch, "clock_ms", clock_realtime_ms()));
	config_release(config);
}

static void
get_jobs(Request *request, Answer *answer)
{
	const char *run = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, "run");

	answer_json(answer, MHD_HTTP_OK, json_pack("{s:o}", "jobs", jobs_list(run, query_int(request, "brief") != 0)));
}

static void
answer_job(Answer *answer, JobAnswer rc, json_t *job, const char *error)
{
	switch (rc)
	{
		case JOB_OK:
			answer_json(answer, MHD_HTTP_OK, job);
			return;
		case JOB_BAD_REQUEST:
			answer_error(answer, MHD_HTTP_BAD_REQUEST, STATE_INVALID_PARAMETER, NULL, "%s", error);
			return;
		case JOB_UNKNOWN:
			answer_error(answer, MHD_HTTP_NOT_FOUND, STATE_UNDEFINED_OBJECT, NULL, "no such job");
			return;
		case JOB_OLD_EPOCH:
			answer_error(answer, MHD_HTTP_CONFLICT, STATE_NOT_IN_PREREQUISITE_STATE,
						 "The primary has moved since this job was made.",
						 "the job's epoch is older than this agent's (%lld)", (long long) epoch_current());
			return;
		case JOB_SHUTDOWN:
			answer_error(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, STATE_ADMIN_SHUTDOWN, NULL,
						 "the agent is shutting down");
	}
}

static void
post_job(Request *request, Answer *answer)
{
	json_error_t parse_error;
	json_t	   *body = json_loadb(request->body.data ? request->body.data : "", request->body.size,
								  JSON_REJECT_DUPLICATES, &parse_error);
	char		error[256] = "";
	json_t	   *job = NULL;
	JobAnswer	rc;

	if (!body)
	{
		answer_error(answer, MHD_HTTP_BAD_REQUEST, STATE_INVALID_PARAMETER, NULL,
					 "the body is not JSON (line %d, column %d)", parse_error.line, parse_error.column);
		return;
	}
	rc = jobs_post(body, &job, error, sizeof(error));
	json_decref(body);
	answer_job(answer, rc, job, error);
}

static void
get_job(Request *request, Answer *answer)
{
	json_t	   *job = NULL;
	JobAnswer	rc = jobs_get(request->run, request->step, query_int(request, "wait_ms"), &job);

	answer_job(answer, rc, job, "");
}

static void
cancel_job(Request *request, Answer *answer)
{
	json_t	   *job = NULL;
	JobAnswer	rc = jobs_cancel(request->run, request->step, &job);

	answer_job(answer, rc, job, "");
}

/* One word for load balancers; 503 means: send no clients. Anyone may know this, and no more. */
static void
get_health(Request *request, Answer *answer)
{
	const char *lag = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, "lag");
	const char *word;
	unsigned	status = health_now(request->route->path, lag, &word);

	if (status == MHD_HTTP_BAD_REQUEST)
		answer_error(answer, status, STATE_INVALID_PARAMETER, NULL, "\"lag\" must be a size, as 1048576 or 16MB");
	else
		answer_text(answer, status, "text/plain", xasprintf("%s\n", word));
}

/* The order to promote was obeyed, or something else was: either way the server answers for itself. */
static bool
is_out_of_recovery(const NodeState *state)
{
	return state->role == ROLE_PRIMARY || state->role == ROLE_SEALED || state->role == ROLE_GUARDED;
}

/*
 * With fresh_ms it looks now, for so long at most; who ask at the same time share a look.
 *
 * The claim first, then the look, then the epoch. A promotion moves on in the other direction: its claim ends when
 * the server is promoted and its epoch is proved. So one answer never tells of a standby, of the epoch of before, and
 * of no claim, while a server is promoted in between.
 */
static void
get_state(Request *request, Answer *answer)
{
	AgentConfig *config = config_current();
	int64_t		fresh_ms = query_int(request, "fresh_ms");
	ClaimNow	claim = claim_current(config);
	NodeState	state = fresh_ms > 0 ? nodestate_fresh((int) (fresh_ms < FRESH_MAX_MS ? fresh_ms : FRESH_MAX_MS)) :
		nodestate_get();
	json_t	   *json = nodestate_json(config->node, &state);
	const Claim *counts;

	json_object_set_new(json, "epoch", json_integer(epoch_current()));
	if (fresh_ms > 0 && arbiter_configured(config))
		json_object_set_new(json, "arbiter", arbiter_word(config));
	counts = is_out_of_recovery(&state) ? &claim.noted : &claim.highest;
	json_object_set_new(json, "claimed", json_integer(counts->epoch));
	json_object_set_new(json, "claimed_by", counts->epoch > 0 ? json_string(counts->run) : json_null());
	answer_json(answer, MHD_HTTP_OK, json);
	config_release(config);
}

static void
get_page(Request *request, Answer *answer)
{
	monitor_page(answer);
}

static void
get_metrics(Request *request, Answer *answer)
{
	const char *accept = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);

	monitor_metrics(accept, answer);
}

static void
get_snapshot(Request *request, Answer *answer)
{
	monitor_snapshot(answer);
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

/* Is it one of the methods, which a blank separates? */
static bool
has_method(const char *methods, const char *method)
{
	size_t		len = strlen(method);

	for (const char *at = methods; *at; at += strcspn(at, " "), at += strspn(at, " "))
		if (strcspn(at, " ") == len && strncmp(at, method, len) == 0)
			return true;
	return false;
}

const Route *
route_find(const char *method, const char *path, Request *request, bool *other_method)
{
	*other_method = false;
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++)
	{
		if (!route_matches(routes[i].path, path, request))
			continue;
		if (has_method(routes[i].methods, method))
			return &routes[i];
		*other_method = true;
	}
	return NULL;
}
