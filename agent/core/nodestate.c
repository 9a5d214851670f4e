/*
 * nodestate.c
 *		The state of the node, as a sampler saw it last.
 */
#include <pthread.h>

#include "agent/core/clock.h"
#include "agent/core/nodestate.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static NodeState present;

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
	if (clock_monotonic_ms() > state.good_until)
		state.role = ROLE_UNKNOWN;
	return state;
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

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o}",
					 "node", node, "role", nodestate_role_name(state.role),
					 "version", state.version[0] ? json_string(state.version) : json_null(),
					 "timeline", state.timeline > 0 ? json_integer(state.timeline) : json_null(),
					 "lsn", state.lsn[0] ? json_string(state.lsn) : json_null(), "streaming", (int) state.streaming,
					 "streamed_ms", state.streamed_ms > 0 ? json_real(state.streamed_ms) : json_null(),
					 "seen_ms", seen ? json_real(state.seen_ms) : json_null(),
					 "age_ms", seen ? json_real(clock_realtime_ms() - state.seen_ms) : json_null());
}
