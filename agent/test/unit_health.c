/*
 * unit_health.c
 *		Tests of what load balancers are told: the status for each state of a node, and requests as text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/http/health.h"
#include "agent/http/plain.h"
#include "agent/test/unit.h"

/* The status of each path of the list, in its order, without the doubled names. */
static char *
statuses(NodeState state)
{
	static const char *const paths[] = {"/health", "/primary", "/replica", "/read-only", "/readiness", "/liveness"};
	char		text[64] = "";

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%u", i ? " " : "",
				 health_status(paths[i], NULL, &state));
	return xstrdup(text);
}

static void
test_states(void)
{
	NodeState	nothing = {.role = ROLE_UNKNOWN, .lag = -1};
	NodeState	primary = {.role = ROLE_PRIMARY, .takes_writes = true, .current = true, .lag = -1};
	NodeState	held = {.role = ROLE_PRIMARY, .current = true, .lag = -1};
	NodeState	sealed = {.role = ROLE_SEALED, .current = true, .lag = -1};
	NodeState	standby = {.role = ROLE_STANDBY, .current = true, .lag = 0};
	NodeState	down = {.role = ROLE_DOWN, .current = true, .lag = -1};
	NodeState	router = {.role = ROLE_NONE, .current = true, .lag = -1};

	is(statuses(nothing), "503 503 503 503 503 503", "health: nothing is known");
	is(statuses(primary), "200 200 503 200 200 200", "health: a primary");
	is(statuses(held), "200 503 503 200 200 200", "health: a primary whose writes wait gets none");
	is(statuses(sealed), "503 503 503 503 503 200", "health: a sealed server gets nobody");
	is(statuses(standby), "200 503 200 200 200 200", "health: a standby");
	is(statuses(down), "503 503 503 503 503 200", "health: a server that is down");
	is(statuses(router), "200 503 503 503 503 200", "health: an agent beside a router");
	for (const char *const *alias = (const char *const[]) {"/", "/read-write", "/leader", "/master", NULL}; *alias;
		 alias++)
		ok(health_status(*alias, NULL, &primary) == 200 && health_status(*alias, NULL, &held) == 503,
		   "health: other names of /primary");
	ok(health_status("/nowhere", NULL, &primary) == 503, "health: an unknown path is no yes");
}

static unsigned
lagging(long long lag, const char *limit)
{
	NodeState	state = {.role = ROLE_STANDBY, .current = true, .lag = lag};

	return health_status("/replica", limit, &state);
}

static void
test_lag(void)
{
	ok(lagging(1048576, "1048576") == 200 && lagging(1048577, "1048576") == 503, "lag: in bytes");
	ok(lagging(1048576, "1MB") == 200 && lagging(1048577, "1mb") == 503, "lag: in megabytes, in any case");
	ok(lagging(16384, "16kB") == 200 && lagging(16385, "16kB") == 503, "lag: in kilobytes");
	ok(lagging(1LL << 40, "1024GB") == 200 && lagging((1LL << 40) + 1, "1TB") == 503, "lag: in more");
	ok(lagging(0, "0") == 200 && lagging(1, "0") == 503, "lag: none");
	ok(lagging(-1, "999999TB") == 503 && lagging(-1, NULL) == 200, "lag: one that is not known is within no limit");
	for (const char *const *bad = (const char *const[]) {"", "MB", "-1", "1 MB", "1MBx", "1.5GB", "0x10",
				 "9999999999999999999", "9999999TB", "1%4dB", NULL}; *bad; bad++)
		ok(lagging(0, *bad) == 400, "lag: what is no size is refused");
}

/* The first line of the answer, and whether the connection may be kept; nobody has looked at a server here. */
static char *
answered(const char *head)
{
	char	   *copy = xstrdup(head);
	char		answer[PLAIN_ANSWER_MAX];
	bool		keep = plain_answer(copy, answer, sizeof(answer));
	char	   *body = strstr(answer, "\r\n\r\n");
	char	   *text;

	answer[strcspn(answer, "\r")] = '\0';
	text = xasprintf("%s%s%s", answer + strlen("HTTP/1.1 "), keep ? ", kept" : "",
					 body && body[4] ? "" : ", no body");
	free(copy);
	return text;
}

static void
test_plain(void)
{
	is(answered("GET /primary HTTP/1.1\r\nHost: x\r\n\r"), "503 Service Unavailable, kept", "plain: a look");
	is(answered("HEAD /primary HTTP/1.1\r\n\r"), "503 Service Unavailable, kept, no body", "plain: HEAD has no body");
	is(answered("OPTIONS / HTTP/1.0\r\n\r"), "503 Service Unavailable", "plain: as HAProxy asks by itself");
	is(answered("OPTIONS /replica?x=1&lag=16MB HTTP/1.0\r\nConnection: keep-alive\r\n\r"),
	   "503 Service Unavailable, kept", "plain: an older client that keeps it");
	is(answered("GET /replica?lag=much HTTP/1.1\r\nconnection:Close\r\n\r"), "400 Bad Request", "plain: no size");
	is(answered("GET / HTTP/1.1\n"), "404 Not Found, kept", "plain: no status page here");
	is(answered("GET /v1/state HTTP/1.1\r\n\r"), "404 Not Found, kept", "plain: nor anything else");
	is(answered("POST /primary HTTP/1.1\r\nContent-Length: 3\r\n\r"), "405 Method Not Allowed", "plain: no orders");
	is(answered("GET /primary HTTP/1.1\r\nContent-Length: 3\r\n\r"), "503 Service Unavailable",
	   "plain: what comes behind a body is not taken for a request");
	is(answered("GET /primary HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r"), "503 Service Unavailable",
	   "plain: nor behind one of unknown length");
	for (const char *const *bad = (const char *const[]) {"", "\r", "GET", "GET  HTTP/1.1", "GET /primary",
				 "GET /primary HTTP/2", " / HTTP/1.1", "GET /primary HTTP/1.1 x", NULL}; *bad; bad++)
	{
		char	   *text = answered(*bad);

		ok(strncmp(text, "40", 2) == 0 && !strstr(text, "kept"), "plain: what is no request ends the connection");
		free(text);
	}
}

void
test_health(void)
{
	test_states();
	test_lag();
	test_plain();
}
