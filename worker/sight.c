/*
 * sight.c - asks all agents how their nodes are this moment, and whether they can reach the old primary.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "worker/job.h"
#include "worker/sight.h"

#define SIGHT_MS		6000	/* more than what an agent gives itself */

typedef struct SightShared
{
	LWLock	   *lock;			/* guards all of it */
	int			n;
	Sight		nodes[SIGHT_NODES];
} SightShared;

static SightShared *shared;
static char fence_hook[PP_NAME_LEN + sizeof(PINGPONG_FENCE_HOOK)];

void
sight_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(SightShared)));
	RequestNamedLWLockTranche("pg_pingpong sight", 1);
}

void
sight_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("pg_pingpong sight", sizeof(SightShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(SightShared));
		shared->lock = &GetNamedLWLockTranche("pg_pingpong sight")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

int
sight_read(Sight *to)
{
	int			n;

	LWLockAcquire(shared->lock, LW_SHARED);
	n = shared->n;
	memcpy(to, shared->nodes, n * sizeof(Sight));
	LWLockRelease(shared->lock);
	return n;
}

static void
keep(const Sight *sight)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->n < SIGHT_NODES)
		shared->nodes[shared->n++] = *sight;
	LWLockRelease(shared->lock);
}

/* ---- asking ---- */

json_t *
sight_params(Run *run, const char *source)
{
	RunNode    *primary = run_node(run, source);

	return primary ? json_pack("{s:{s:s, s:i}}", "primary", "host", primary->host, "port", primary->port) :
		json_new();
}

void
sight_ask(Run *run, const char *source)
{
	char		key[64];

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->n = 0;
	LWLockRelease(shared->lock);
	snprintf(fence_hook, sizeof(fence_hook), "%s%s", PINGPONG_FENCE_HOOK, source);
	protocol_question_key(key, sizeof(key), QUESTION_FACTS, MyProcPid, GetCurrentTimestamp());
	strlcpy(run->key, FACTS_RUN, sizeof(run->key));
	for (int i = 0; i < run->nnodes; i++)
		run->calls[i] = job_post(run, run->nodes[i].name, key, ACTION_PG_LOOK, sight_params(run, source), SIGHT_MS,
								 SIGHT_MS + 1000);
}

/* ---- answers ---- */

static XLogRecPtr
lsn_of(json_t *result, const char *name)
{
	bool		bad = false;
	XLogRecPtr	lsn = pg_lsn_in_internal(protocol_text(result, name), &bad);

	return bad ? InvalidXLogRecPtr : lsn;
}

static bool
has_fence_hook(json_t *result)
{
	json_t	   *name;
	size_t		i;

	json_array_foreach(json_object_get(result, "hooks"), i, name)
		if (json_is_string(name) && strcmp(json_string_value(name), fence_hook) == 0)
			return true;
	return false;
}

/* What it knows counts as what the agent knows. */
static void
read_arbiter(Sight *sight, json_t *arbiter)
{
	strlcpy(sight->arbiter, protocol_text(arbiter, "name"), sizeof(sight->arbiter));
	strlcpy(sight->arbiter_error, protocol_text(arbiter, "error"), sizeof(sight->arbiter_error));
	sight->epoch = Max(sight->epoch, json_integer_value(json_object_get(arbiter, "epoch")));
	sight->claimed = Max(sight->claimed, json_integer_value(json_object_get(arbiter, "claimed")));
}

static void
read_sight(Sight *sight, json_t *result)
{
	json_t	   *heard = json_object_get(result, "heard_ms");
	json_t	   *reach = json_object_get(result, "reach");

	strlcpy(sight->role, protocol_text(result, "role"), sizeof(sight->role));
	strlcpy(sight->error, protocol_text(result, "error"), sizeof(sight->error));
	strlcpy(sight->system, protocol_text(result, "system"), sizeof(sight->system));
	strlcpy(sight->sender, protocol_text(result, "sender"), sizeof(sight->sender));
	strlcpy(sight->sync_names, protocol_text(result, "sync_names"), sizeof(sight->sync_names));
	sight->running = json_is_true(json_object_get(result, "running"));
	sight->timeline = (int) json_integer_value(json_object_get(result, "timeline"));
	sight->received = lsn_of(result, "received");
	sight->replayed = lsn_of(result, "replayed");
	sight->replaying = json_is_true(json_object_get(result, "replaying"));
	sight->streaming = json_is_true(json_object_get(result, "streaming"));
	sight->heard_ms = json_is_number(heard) ? json_number_value(heard) : -1;
	sight->epoch = json_integer_value(json_object_get(result, "epoch"));
	sight->claimed = json_integer_value(json_object_get(result, "claimed"));
	read_arbiter(sight, json_object_get(result, "arbiter"));
	sight->fences = has_fence_hook(result);
	sight->reached = !json_is_object(reach) ? -1 : json_is_true(json_object_get(reach, "reached")) ? 1 : 0;
}

static void
take(const char *node, AgentCall *call)
{
	const char *state = protocol_text(call->body, "state");
	json_t	   *result = protocol_result(call->body, 0);
	Sight		sight;

	memset(&sight, 0, sizeof(sight));
	strlcpy(sight.node, node, sizeof(sight.node));
	sight.at = GetCurrentTimestamp();
	sight.heard_ms = sight.reached = -1;
	sight.answered = call->status == 200 && result && strcmp(state, JOB_STATE_SUCCEEDED) == 0;
	if (sight.answered)
		read_sight(&sight, result);
	else if (call->status == 200 && strcmp(state, JOB_STATE_RUNNING) == 0)
		strlcpy(sight.error, "the agent did not finish in time", sizeof(sight.error));
	else
		strlcpy(sight.error, call_problem(call), sizeof(sight.error));
	keep(&sight);
}

bool
sight_take(Run *run)
{
	return job_take_answers(run, take);
}
