/*
 * nodestate.c
 *		The state of the node, as a sampler saw it last.
 */
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "agent/core/clock.h"
#include "agent/core/nodestate.h"

#define RECENT_MS (2 * NODESTATE_ASKED_MS + NODESTATE_LOOK_MS)
#define ASKED_FOR_MS 10000		/* so long after a question the next one is expected */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;	/* a wish came, or was granted; or somebody asks */
static NodeState present = {.lag = -1};
static long wished;				/* number of the last wish for a fresh look */
static long taken;				/* of the last one that had come when the last look began */
static long granted;			/* of the last one that had come when the present state was looked at */
static double asked_at = -ASKED_FOR_MS; /* CLOCK_MONOTONIC, ms */

void
nodestate_set(const NodeState *state)
{
	pthread_mutex_lock(&lock);
	present = *state;
	granted = taken;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void
forget_role(NodeState *state)
{
	state->role = ROLE_UNKNOWN;
	state->takes_writes = false;
	state->lag = -1;
}

static NodeState
present_state(void)
{
	NodeState	state = present;

	state.current = clock_monotonic_ms() <= state.good_until;
	if (!state.current)
		forget_role(&state);
	return state;
}

NodeState
nodestate_get(void)
{
	NodeState	state;

	pthread_mutex_lock(&lock);
	state = present_state();
	pthread_mutex_unlock(&lock);
	return state;
}

void
nodestate_asked(void)
{
	double		now = clock_monotonic_ms();

	pthread_mutex_lock(&lock);
	if (now - asked_at >= ASKED_FOR_MS)
		pthread_cond_broadcast(&changed);	/* the sampler may be at its long pause */
	asked_at = now;
	pthread_mutex_unlock(&lock);
}

/* ---- fresh looks ---- */

/* The lock is held; may return early. The clock of a condition is the wall's: who waits checks the other one. */
static void
wait_for_change(double ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t) (ms / 1000);
	until.tv_nsec += (long) (ms - 1000 * (double) (time_t) (ms / 1000)) * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&changed, &lock, &until);
}

NodeState
nodestate_fresh(int limit_ms)
{
	double		limit = clock_monotonic_ms() + limit_ms;
	NodeState	state;
	long		mine;

	pthread_mutex_lock(&lock);
	mine = ++wished;
	pthread_cond_broadcast(&changed);
	while (granted < mine && clock_monotonic_ms() < limit)
		wait_for_change(limit - clock_monotonic_ms());
	state = present_state();
	if (granted < mine)
	{
		forget_role(&state);
		state.data_known = false;
	}
	pthread_mutex_unlock(&lock);
	return state;
}

NodeState
nodestate_recent(int limit_ms)
{
	NodeState	state = nodestate_get();

	return clock_monotonic_ms() - state.looked_at <= RECENT_MS ? state : nodestate_fresh(limit_ms);
}

/* Is the next look not due yet? Sooner while somebody asks. */
static bool
may_rest(double began, int interval_ms)
{
	double		now = clock_monotonic_ms();

	if (now - asked_at < ASKED_FOR_MS && interval_ms > NODESTATE_ASKED_MS)
		interval_ms = NODESTATE_ASKED_MS;
	return now < began + interval_ms;
}

void
nodestate_await_look(int interval_ms)
{
	double		began = clock_monotonic_ms();

	pthread_mutex_lock(&lock);
	while (taken == wished && may_rest(began, interval_ms))
	{
		bool		asked = clock_monotonic_ms() - asked_at < ASKED_FOR_MS;

		wait_for_change(asked && interval_ms > NODESTATE_ASKED_MS ? NODESTATE_ASKED_MS : interval_ms);
	}
	pthread_mutex_unlock(&lock);
}

bool
nodestate_take_wish(void)
{
	bool		wanted;

	pthread_mutex_lock(&lock);
	wanted = taken < wished;
	taken = wished;
	pthread_mutex_unlock(&lock);
	return wanted;
}

/* ---- as text ---- */

const char *
nodestate_role_name(NodeRole role)
{
	static const char *const names[] = {"unknown", "none", "down", "primary", "sealed", "standby", "guarded"};

	return names[role];
}

/* As text: a double would round it. */
static json_t *
identifier(unsigned long long system)
{
	char		text[32];

	if (system == 0)
		return json_null();
	snprintf(text, sizeof(text), "%llu", system);
	return json_string(text);
}

static json_t *
data_json(const NodeState *state)
{
	if (!state->data_known)
		return json_null();
	return json_pack("{s:o, s:I, s:I, s:b, s:b}", "system_identifier", identifier(state->data_system),
					 "timeline", (json_int_t) state->data_timeline, "history", (json_int_t) state->data_history,
					 "standby", (int) state->data_standby, "sealed", (int) state->data_sealed);
}

json_t *
nodestate_json(const char *node, const NodeState *state)
{
	bool		seen = state->seen_ms > 0;

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:o}",
					 "node", node, "role", nodestate_role_name(state->role),
					 "version", state->version[0] ? json_string(state->version) : json_null(),
					 "timeline", state->timeline > 0 ? json_integer(state->timeline) : json_null(),
					 "lsn", state->lsn[0] ? json_string(state->lsn) : json_null(),
					 "streaming", (int) state->streaming,
					 "streamed_ms", state->streamed_ms > 0 ? json_real(state->streamed_ms) : json_null(),
					 "system_identifier", identifier(state->system), "data", data_json(state),
					 "seen_ms", seen ? json_real(state->seen_ms) : json_null(),
					 "age_ms", seen ? json_real(clock_realtime_ms() - state->seen_ms) : json_null());
}
