/*
 * probe.c - could this server's worker take a run over?
 *
 * After a promotion the new primary's worker goes on alone. Whether it could is asked before the point of no return,
 * of the worker itself, by the way that it would go: it must run, find the extension in its database, be of the same
 * version, know itself as the target of the run, read its token, and reach its own agent, that of the old primary and
 * those of the routers; for a failover only its own. It answers on a standby too, where it writes nothing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"

#include "worker/clock.h"
#include "worker/db.h"
#include "worker/journal.h"
#include "worker/probe.h"
#include "worker/settings.h"
#include "worker/shared.h"

#define PING_MS			3000
#define REPLAY_US		(5 * 1000 * 1000)	/* the run's row is replayed by then */

typedef enum ProbeState
{
	PROBE_IDLE, PROBE_LOOKING, PROBE_PINGING
} ProbeState;

static ProbeState state = PROBE_IDLE;

static uint64 number;			/* of the question that is being worked on */
static char wanted_run[PP_NAME_LEN];

static char wanted_version[16];
static int64 since;
static MemoryContext probe_context;

static Run *topology;			/* only its nodes and routes */
static AgentCall **pings;

bool
probe_wanted(void)
{
	bool		wanted;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	wanted = worker_shared->probe.answered < worker_shared->probe.asked;
	LWLockRelease(worker_shared->lock);
	return wanted;
}

static void
forget(void)
{
	for (int i = 0; topology && pings && i < topology->nnodes; i++)
		agents_release(pings[i]);
	topology = NULL;
	pings = NULL;
	state = PROBE_IDLE;
	if (probe_context)
		MemoryContextReset(probe_context);
}

/* Empty: it could. */
static void
answer(const char *problem)
{
	PGPROC	   *proc;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->probe.asked == number)
	{
		worker_shared->probe.answered = number;
		strlcpy(worker_shared->probe.problem, problem, sizeof(worker_shared->probe.problem));
	}
	proc = worker_shared->probe.asker ? BackendPidGetProc(worker_shared->probe.asker) : NULL;
	LWLockRelease(worker_shared->lock);
	if (proc)
		SetLatch(&proc->procLatch);
	forget();
}

static void
begin(void)
{
	forget();
	if (probe_context == NULL)
		probe_context = AllocSetContextCreate(TopMemoryContext, "pg_pingpong probe", ALLOCSET_SMALL_SIZES);
	LWLockAcquire(worker_shared->lock, LW_SHARED);
	number = worker_shared->probe.asked;
	strlcpy(wanted_run, worker_shared->probe.run, sizeof(wanted_run));
	strlcpy(wanted_version, worker_shared->probe.version, sizeof(wanted_version));
	LWLockRelease(worker_shared->lock);
	since = now_us();
	state = PROBE_LOOKING;
}

static bool
is_for_failover(void)
{
	return strcmp(wanted_run, PINGPONG_PROBE_FAILOVER) == 0;
}

/* Nodes without whose agents the run could not go on here. */
static bool
is_needed(RunNode *node, const char *source)
{
	if (is_for_failover())
		return strcmp(node->name, worker_self()) == 0;
	if (strcmp(node->name, worker_self()) == 0 || strcmp(node->name, source) == 0)
		return true;
	for (int i = 0; i < topology->nroutes; i++)
		if (strcmp(topology->routes[i].router, node->name) == 0)
			return true;
	return false;
}

/* The run, as this server has it: its source, or NULL with the problem. */
static char *
find_run(char *problem, size_t size)
{
	char	   *source = NULL;

	db_begin();
	if (db_exec("SELECT target, coalesce(source, ''), state FROM pingpong.run WHERE key = $1", 1, wanted_run) == 0)
		snprintf(problem, size, "it does not see the run in its database \"%s\"", worker_database);
	else if (strcmp(db_text(0, 1), worker_self()) != 0)
		snprintf(problem, size, "it calls itself \"%s\", not \"%s\" (pingpong.node_name)", worker_self(),
				 db_text(0, 1));
	else
		source = MemoryContextStrdup(probe_context, db_text(0, 2));
	db_end();
	return source;
}

static void
start_pings(const char *source)
{
	MemoryContext old = MemoryContextSwitchTo(probe_context);

	topology = palloc0(sizeof(Run));
	journal_load_topology(topology);
	pings = palloc0(Max(topology->nnodes, 1) * sizeof(AgentCall *));
	for (int i = 0; i < topology->nnodes; i++)
		if (is_needed(&topology->nodes[i], source))
			pings[i] = agents_get(topology->nodes[i].url, PROTOCOL_PING_PATH, PING_MS);
	MemoryContextSwitchTo(old);
	state = PROBE_PINGING;
}

static long
look(void)
{
	char		problem[PP_TEXT_LEN] = "";
	char	   *source = "";

	if (wanted_version[0] && strcmp(wanted_version, PINGPONG_AGENT_VERSION) != 0)
	{
		snprintf(problem, sizeof(problem), "its module is of version %s, the other one's of %s",
				 PINGPONG_AGENT_VERSION, wanted_version);
		answer(problem);
		return 0;
	}
	if (wanted_run[0] && !is_for_failover())
		source = find_run(problem, sizeof(problem));
	if (source != NULL)
		start_pings(source);
	else if (now_us() - since > REPLAY_US)
		answer(problem);
	else
		return 10;
	return 0;
}

static bool
ping_problem(RunNode *node, AgentCall *call, char *problem, size_t size)
{
	const char *name = json_string_value(json_object_get(call->body, "node"));

	if (call->body == NULL)
		snprintf(problem, size, "it does not reach the agent of \"%s\": %s", node->name, call->error);
	else if (call->status != 200)
		snprintf(problem, size, "the agent of \"%s\" refuses it (status %d)", node->name, call->status);
	else if (name == NULL || strcmp(name, node->name) != 0)
		snprintf(problem, size, "the agent of \"%s\" calls itself \"%s\"", node->name, name ? name : "");
	else
		return false;
	return true;
}

static long
watch_pings(void)
{
	char		problem[PP_TEXT_LEN] = "";

	for (int i = 0; i < topology->nnodes; i++)
		if (pings[i] && !pings[i]->done)
			return 5;
	for (int i = 0; i < topology->nnodes; i++)
		if (pings[i] && ping_problem(&topology->nodes[i], pings[i], problem, sizeof(problem)))
			break;
	answer(problem);
	return 0;
}

/* One step of it; gives the longest nap in ms. `ready`: the extension is there. */
long
probe_advance(bool ready)
{
	uint64		asked;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	asked = worker_shared->probe.asked;
	LWLockRelease(worker_shared->lock);
	if (state == PROBE_IDLE || asked != number)
		begin();
	if (!ready)
	{
		char		problem[PP_TEXT_LEN];

		snprintf(problem, sizeof(problem), "there is no extension pg_pingpong in its database "
				 "\"%s\" (pingpong.database)", worker_database);
		answer(problem);
		return 0;
	}
	return state == PROBE_LOOKING ? look() : watch_pings();
}

/* It raised an error. */
void
probe_failed(const char *problem)
{
	answer(problem);
}
