/*
 * probe.c - could this server's worker take a run over?
 *
 * After a promotion the new primary's worker goes on alone. Whether it could is asked before the point of no return,
 * of the worker itself, by the way that it would go: it must run, find the extension in its database, be of the same
 * version, know itself as the target of the run, read its token, and reach its own agent, that of the old primary and
 * those of the routers. It answers on a standby too, where it writes nothing.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "common/names.h"
#include "gate/gate.h"
#include "worker/journal.h"
#include "worker/run.h"

#define PING_MS			3000
#define REPLAY_US		(5 * 1000 * 1000)	/* the run's row is replayed by then */
#define WAIT_MS			20
#define LIMIT_US		(9 * 1000 * 1000)	/* of the asking backend; more than REPLAY_US and PING_MS */

PG_FUNCTION_INFO_V1(pingpong_probe);

/* ---- the worker's side ---- */

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

/* Nodes without whose agents the run could not go on here. */
static bool
is_needed(RunNode *node, const char *source)
{
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

	journal_begin();
	if (journal_exec("SELECT target, coalesce(source, ''), state FROM pingpong.run WHERE key = $1", 1, wanted_run) == 0)
		snprintf(problem, size, "it does not see the run in its database \"%s\"", worker_database);
	else if (strcmp(journal_text(0, 1), worker_self()) != 0)
		snprintf(problem, size, "it calls itself \"%s\", not \"%s\" (pingpong.node_name)", worker_self(), journal_text(0, 1));
	else
		source = MemoryContextStrdup(probe_context, journal_text(0, 2));
	journal_end();
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
			pings[i] = agents_get(topology->nodes[i].url, "/v1/ping", PING_MS);
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
		snprintf(problem, sizeof(problem), "its module is of version %s, the other one's of %s", PINGPONG_AGENT_VERSION, wanted_version);
		answer(problem);
		return 0;
	}
	if (wanted_run[0])
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

		snprintf(problem, sizeof(problem), "there is no extension pg_pingpong in its database \"%s\" (pingpong.database)", worker_database);
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

/* ---- the asking backend ---- */

/* Puts the question; 0: another one is being asked. */
static uint64
put_question(const char *run, const char *version)
{
	uint64		asked = 0;
	PGPROC	   *proc;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->probe.asker == 0 || worker_shared->probe.asker == MyProcPid ||
		BackendPidGetProc(worker_shared->probe.asker) == NULL)
	{
		asked = ++worker_shared->probe.asked;
		worker_shared->probe.asker = MyProcPid;
		strlcpy(worker_shared->probe.run, run, sizeof(worker_shared->probe.run));
		strlcpy(worker_shared->probe.version, version, sizeof(worker_shared->probe.version));
	}
	proc = worker_shared->pid ? BackendPidGetProc(worker_shared->pid) : NULL;
	LWLockRelease(worker_shared->lock);
	if (asked && proc)
		SetLatch(&proc->procLatch);
	return asked;
}

static bool
take_answer(uint64 asked, char *problem, size_t size)
{
	bool		answered;

	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	answered = worker_shared->probe.answered >= asked;
	if (answered)
	{
		strlcpy(problem, worker_shared->probe.problem, size);
		worker_shared->probe.asker = 0;
	}
	LWLockRelease(worker_shared->lock);
	return answered;
}

static bool
worker_runs(void)
{
	bool		runs;

	LWLockAcquire(worker_shared->lock, LW_SHARED);
	runs = worker_shared->pid != 0;
	LWLockRelease(worker_shared->lock);
	return runs;
}

static void
nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS, worker_wait_event());
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Gives up the question, if it is still ours: others may ask then. */
static void
leave(void)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	if (worker_shared->probe.asker == MyProcPid)
		worker_shared->probe.asker = 0;
	LWLockRelease(worker_shared->lock);
}

/* Waits for the answer; "": nothing stands against it. */
static void
wait_answer(const char *run, const char *version, char *problem, size_t size)
{
	int64		limit = now_us() + LIMIT_US;
	uint64		asked = 0;

	strlcpy(problem, "its worker does not answer", size);
	while (now_us() < limit)
	{
		if (asked == 0)
			asked = put_question(run, version);
		if (asked != 0 && take_answer(asked, problem, size))
			return;
		if (!worker_runs())
			strlcpy(problem, "its worker does not run", size);
		nap();
	}
}

/* probe(run, version): null, or what stands against this server's worker taking the run over. */
Datum
pingpong_probe(PG_FUNCTION_ARGS)
{
	char	   *run = PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *version = PG_ARGISNULL(1) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(1));
	char		problem[PP_TEXT_LEN];

	gate_require_shmem();
	PG_TRY();
	{
		wait_answer(run, version, problem, sizeof(problem));
	}
	PG_FINALLY();
	{
		leave();
	}
	PG_END_TRY();
	if (problem[0] == '\0')
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
