/*
 * health.c
 *		Where may clients be sent?  The paths that load balancers ask, and the answer from the state of the node.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/http/health.h"

#define LAG_ANY (-1)
#define FRESH_MS 100			/* the thread of the open socket waits no longer for a look */

static bool
takes_writes(const NodeState *state, long long max_lag)
{
	return state->role == ROLE_PRIMARY && state->takes_writes;
}

/* A standby whose lag nobody knows is within no limit. */
static bool
is_replica(const NodeState *state, long long max_lag)
{
	return state->role == ROLE_STANDBY && (max_lag == LAG_ANY || (state->lag >= 0 && state->lag <= max_lag));
}

static bool
takes_reads(const NodeState *state, long long max_lag)
{
	return state->role == ROLE_PRIMARY || is_replica(state, max_lag);
}

static bool
has_nothing_against(const NodeState *state, long long max_lag)
{
	return state->role == ROLE_PRIMARY || state->role == ROLE_STANDBY || state->role == ROLE_NONE;
}

/* The agent's own loop goes on, whatever its server does. */
static bool
is_alive(const NodeState *state, long long max_lag)
{
	return state->current;
}

/* "OPTIONS /" is what HAProxy asks when it is told no path; "GET /" is the status page. */
static const struct
{
	const char *path;
	bool		(*fits) (const NodeState *state, long long max_lag);
	bool		routes;			/* it decides where clients are sent: the state must be of this moment */
}			checks[] = {
	{"/health", has_nothing_against, false},
	{"/", takes_writes, true},
	{"/primary", takes_writes, true},
	{"/read-write", takes_writes, true},
	{"/leader", takes_writes, true},
	{"/master", takes_writes, true},
	{"/replica", is_replica, true},
	{"/read-only", takes_reads, true},
	{"/readiness", takes_reads, true},
	{"/liveness", is_alive, false},
};

#define CHECKS ((int) (sizeof(checks) / sizeof(checks[0])))

static int
find(const char *path)
{
	int			n = 0;

	while (n < CHECKS && strcmp(checks[n].path, path) != 0)
		n++;
	return n;
}

const char *
health_path(int n)
{
	return n < CHECKS ? checks[n].path : NULL;
}

/* Bytes, or -1: it is no size. */
static long long
size_parse(const char *text)
{
	static const struct
	{
		const char *name;
		int			shift;
	}			units[] = {{"", 0}, {"B", 0}, {"kB", 10}, {"MB", 20}, {"GB", 30}, {"TB", 40}};
	size_t		digits = strspn(text, "0123456789");

	/* so many digits are no overflow, with any unit */
	for (size_t i = 0; digits > 0 && digits <= 6 + 6 && i < sizeof(units) / sizeof(units[0]); i++)
		if (strcasecmp(text + digits, units[i].name) == 0 && (digits <= 6 || units[i].shift <= 20))
			return atoll(text) << units[i].shift;
	return -1;
}

unsigned
health_status(const char *path, const char *lag, const NodeState *state)
{
	int			n = find(path);
	long long	max_lag = lag ? size_parse(lag) : LAG_ANY;

	if (lag && max_lag < 0)
		return 400;
	return n < CHECKS && checks[n].fits(state, max_lag) ? 200 : 503;
}

unsigned
health_now(const char *path, const char *lag, const char **word)
{
	NodeState	state;
	int			n = find(path);
	bool		routes = n < CHECKS && checks[n].routes;

	if (routes)
		nodestate_asked();
	state = routes ? nodestate_recent(FRESH_MS) : nodestate_get();
	*word = nodestate_role_name(state.role);
	return health_status(path, lag, &state);
}
