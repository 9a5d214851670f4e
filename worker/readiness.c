/*
 * readiness.c - makes preflight for each standby once in pingpong.readiness_interval.
 *
 * It is the ordinary preflight: the agents are asked for their facts, then the checks are made. Each call of
 * readiness_advance() makes one check at most, in a transaction of its own, so that a request waits for no more than
 * that. Whoever makes preflight by hand reads the same table of facts: so after each request there is a pause, in
 * which the facts stay as they are. Only what has changed is written.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "worker/clock.h"
#include "worker/db.h"
#include "worker/facts.h"
#include "worker/journal.h"
#include "worker/readiness.h"
#include "worker/settings.h"

#define FACTS_MS		5000
#define PAUSE_US		(30 * 1000 * 1000)	/* after a request; not longer than the interval */
#define BREATH_MS		10		/* between two checks */
#define LOOK_MS			1000	/* while answers are waited for: their sockets wake the loop before */

static MemoryContext readiness_context;
static Run *topology;			/* only its nodes; NULL: nothing is under way */
static AgentCall **calls;
static int	target;				/* the node for which preflight is being made */
static int	next_check;			/* -1: the facts are awaited */
static bool started;
static int64 due;				/* now_us() */

static int64
interval_us(void)
{
	return worker_readiness_interval * INT64CONST(1000);
}

static void
forget(void)
{
	for (int i = 0; topology && calls && i < topology->nnodes; i++)
		agents_release(calls[i]);
	topology = NULL;
	calls = NULL;
	if (readiness_context)
		MemoryContextReset(readiness_context);
}

void
readiness_drop(void)
{
	forget();
	started = true;
	due = now_us() + Min(interval_us(), PAUSE_US);
}

static void
ask_for_facts(void)
{
	for (int i = 0; i < topology->nnodes; i++)
	{
		RunNode    *node = &topology->nodes[i];

		calls[i] = node->away ? NULL :
			facts_ask(topology, node->name, journal_facts_params(node->name, topology->nodes[target].name), FACTS_MS);
	}
	next_check = -1;
}

/* False: that was the last one. */
static bool
go_to_target(int from)
{
	for (target = from; target < topology->nnodes; target++)
		if (strcmp(topology->nodes[target].kind, "postgres") == 0 && !topology->nodes[target].away &&
			strcmp(topology->nodes[target].name, worker_self()) != 0)
		{
			ask_for_facts();
			return true;
		}
	return false;
}

static void
begin(void)
{
	MemoryContext old;

	if (readiness_context == NULL)
		readiness_context = AllocSetContextCreate(TopMemoryContext, "pg_pingpong readiness", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(readiness_context);
	topology = palloc0(sizeof(Run));
	journal_load_topology(topology);
	calls = palloc0(Max(topology->nnodes, 1) * sizeof(AgentCall *));
	if (!go_to_target(0))
		forget();
	MemoryContextSwitchTo(old);
}

/* True while some are outstanding. */
static bool
take_facts(void)
{
	bool		waiting = false;

	for (int i = 0; i < topology->nnodes; i++)
	{
		if (calls[i] && !calls[i]->done)
			waiting = true;
		else if (calls[i])
		{
			AgentCall  *call = calls[i];

			facts_store(topology->nodes[i].name, call);
			calls[i] = NULL;
			agents_release(call);
		}
	}
	return waiting;
}

/* Gives the number of the next one; -1: that was the last. */
static int
make_check(const char *node, int number)
{
	char		text[16];
	int			next = -1;

	snprintf(text, sizeof(text), "%d", number);
	db_begin();
	if (db_exec("SELECT pingpong_internal.renew_readiness($1, $2::pg_catalog.int4)", 2, node, text) == 1 &&
		db_text(0, 1))
		next = atoi(db_text(0, 1));
	db_end();
	return next;
}

static long
go_on(void)
{
	MemoryContext old;

	if (next_check < 0)
	{
		if (take_facts())
			return LOOK_MS;
		next_check = 0;
	}
	next_check = make_check(topology->nodes[target].name, next_check);
	if (next_check >= 0)
		return BREATH_MS;
	old = MemoryContextSwitchTo(readiness_context);
	if (!go_to_target(target + 1))
		forget();
	MemoryContextSwitchTo(old);
	return 0;
}

long
readiness_advance(void)
{
	if (interval_us() == 0 || !started)
	{
		readiness_drop();
		return LOOK_MS;
	}
	if (topology != NULL)
		return go_on();
	due = Min(due, now_us() + interval_us());	/* the interval may have become shorter */
	if (now_us() >= due)
	{
		due = now_us() + interval_us(); /* also if this raises an error */
		begin();
		return 0;
	}
	return (long) ((due - now_us()) / 1000 + 1);
}
