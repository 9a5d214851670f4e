/*
 * routes.c
 *		The table of routes, and what each of them does.
 */
#include <jansson.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/http/answer.h"
#include "agent/http/routes.h"
#include "agent/job/epoch.h"
#include "agent/job/jobs.h"
#include "agent/job/sqlstate.h"
#include "common/protocol.h"

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

	*answer = json_pack("{s:s, s:s, s:i, s:s, s:I, s:f}", "agent", "pingpong-agent", "version", PINGPONG_AGENT_VERSION,
						"protocol", PINGPONG_PROTOCOL, "node", config->node, "epoch", (json_int_t) epoch_current(), "clock_ms", clock_realtime_ms());
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
			return answer_error(answer, MHD_HTTP_BAD_REQUEST, STATE_INVALID_PARAMETER, NULL, "%s", error);
		case JOB_UNKNOWN:
			return answer_error(answer, MHD_HTTP_NOT_FOUND, STATE_UNDEFINED_OBJECT, NULL, "no such job");
		case JOB_OLD_EPOCH:
			return answer_error(answer, MHD_HTTP_CONFLICT, STATE_NOT_IN_PREREQUISITE_STATE,
								"The primary has moved since this job was made.",
								"the job's epoch is older than this agent's (%lld)", (long long) epoch_current());
		case JOB_SHUTDOWN:
			break;
	}
	return answer_error(answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "57P01", NULL, "the agent is shutting down");
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
		return answer_error(answer, MHD_HTTP_BAD_REQUEST, STATE_INVALID_PARAMETER, NULL,
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

const Route *
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
