/*
 * nodestate.c
 *		The state of the node, as a sampler saw it last.
 */
#include <pthread.h>
#include <time.h>

#include "agent/core/clock.h"
#include "agent/core/nodestate.h"

#define ASKED_FOR_MS 10000		/* so long after a question the next one is expected */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t asked = PTHREAD_COND_INITIALIZER;
static NodeState present = {.lag = -1};
static double asked_at = -ASKED_FOR_MS; /* CLOCK_MONOTONIC, ms */

void
nodestate_set(const NodeState *state)
{
	pthread_mutex_lock(&lock);
	present = *state;
	pthread_mutex_unlock(&lock);
}

NodeState
nodestate_get(void)
{
	NodeState	state;

	pthread_mutex_lock(&lock);
	state = present;
	pthread_mutex_unlock(&lock);
	state.current = clock_monotonic_ms() <= state.good_until;
	if (!state.current)
	{
		state.role = ROLE_UNKNOWN;
		state.takes_writes = false;
		state.lag = -1;
	}
	return state;
}

void
nodestate_asked(void)
{
	double		now = clock_monotonic_ms();

	pthread_mutex_lock(&lock);
	if (now - asked_at >= ASKED_FOR_MS)
		pthread_cond_signal(&asked);	/* the sampler may be at its long pause */
	asked_at = now;
	pthread_mutex_unlock(&lock);
}

void
nodestate_await_look(int interval_ms)
{
	struct timespec until;

	pthread_mutex_lock(&lock);
	if (clock_monotonic_ms() - asked_at < ASKED_FOR_MS && interval_ms > NODESTATE_ASKED_MS)
		interval_ms = NODESTATE_ASKED_MS;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += interval_ms / 1000;
	until.tv_nsec += interval_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000L;
	}
	pthread_cond_clockwait(&asked, &lock, CLOCK_MONOTONIC, &until);
	pthread_mutex_unlock(&lock);
}

const char *
nodestate_role_name(NodeRole role)
{
	static const char *const names[] = {"unknown", "none", "down", "primary", "sealed", "standby"};

	return names[role];
}

json_t *
nodestate_json(const char *node)
{
	NodeState	state = nodestate_get();
	bool		seen = state.seen_ms > 0;

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o}",
					 "node", node, "role", nodestate_role_name(state.role),
					 "version", state.version[0] ? json_string(state.version) : json_null(),
					 "timeline", state.timeline > 0 ? json_integer(state.timeline) : json_null(),
					 "lsn", state.lsn[0] ? json_string(state.lsn) : json_null(), "streaming", (int) state.streaming,
					 "seen_ms", seen ? json_real(state.seen_ms) : json_null(),
					 "age_ms", seen ? json_real(clock_realtime_ms() - state.seen_ms) : json_null());
}
