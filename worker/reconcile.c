/*
 * reconcile.c - the idle worker of the primary compares where the routers point with the table of routes.
 *
 * Once in pingpong.route_interval, and at once when the table was changed, each endpoint is asked by a job of its own
 * (route.observe, "brief"). An endpoint that has not answered the last time is not asked again meanwhile, so that one
 * that hangs costs nobody else anything. The answers go into the table. Then one statement says where routes belong
 * and which endpoints point elsewhere (schema/42-reconcile.sql has the rules), and whether these are to be pointed
 * back. That is a run of the worker's own, "realign", as "restore" is: a step for each endpoint, each by itself.
 *
 * No transaction is open while agents are asked. What somebody else has locked is not waited for.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "gate/state.h"
#include "worker/agents.h"
#include "worker/clock.h"
#include "worker/db.h"
#include "worker/reconcile.h"
#include "worker/runner.h"
#include "worker/settings.h"
#include "worker/shared.h"
#include "worker/watch.h"

#define ANSWER_MS		4000	/* the router is given up before */
#define PATIENCE_MS		500		/* those that have answered by then are not kept waiting by the others */
#define CHANGED_MS		1000	/* so often it is looked whether the table was changed */
#define EARLY_MS		1000	/* the next look, where the agents have to be asked first */
#define VERDICT_MS		2000	/* so long it counts: this process may have been frozen since */
#define LOCKED_MS		"100"

typedef struct EndpointQuestion
{
	char		name[PP_NAME_LEN];
	TimestampTz asked_at;
	AgentCall  *call;			/* NULL: it is answered */
} EndpointQuestion;

/* What to ask, as read from the table. */
typedef struct Target
{
	char		name[PP_NAME_LEN];
	char	   *url;
	json_t	   *params;
} Target;

static EndpointQuestion *questions; /* in TopMemoryContext */
static int	nquestions;
static int64 due;				/* now_us(); of the next round */
static int64 judge_at;			/* now_us(); 0: there is nothing to judge */
static int64 changed_at;		/* now_us(); of the next look for a change */
static char table_state[64];	/* changes with the table */
static char *memory;			/* what SQL wants to know again the next time; NULL: nothing */
static int64 run_until;			/* now_us(); a run is due, if it begins before; 0: none is */

/* ---- asking ---- */

static EndpointQuestion *
question_of(const char *name)
{
	for (int i = 0; i < nquestions; i++)
		if (strcmp(questions[i].name, name) == 0)
			return &questions[i];
	return NULL;
}

/* In the present memory context. */
static int
read_targets(Target **targets)
{
	MemoryContext context = CurrentMemoryContext;
	json_error_t err;
	int			n;

	db_begin();
	n = (int) db_exec("SELECT name, agent_url, driver, endpoint, databases::pg_catalog.text FROM "
					  "pingpong_internal.endpoints_to_ask()", 0);
	*targets = MemoryContextAllocZero(context, Max(n, 1) * sizeof(Target));
	for (int i = 0; i < n; i++)
	{
		Target	   *target = &(*targets)[i];

		db_copy(target->name, sizeof(target->name), i, 1);
		target->url = MemoryContextStrdup(context, db_text(i, 2));
		target->params = json_pack("{s:s, s:s, s:o, s:b}", "driver", db_text(i, 3), "endpoint", db_text(i, 4),
								   "databases", json_loads(db_text(i, 5), 0, &err), "brief", 1);
	}
	db_end();
	return n;
}

/* Takes over the parameters. */
static AgentCall *
ask(Target *target)
{
	static int64 asked = 0;
	char		key[64];
	json_t	   *actions = json_array();

	protocol_question_key(key, sizeof(key), QUESTION_ROUTE, MyProcPid, GetCurrentTimestamp() + ++asked);
	json_array_append_new(actions, protocol_action(ACTION_ROUTE_OBSERVE, target->params));
	return agents_post(target->url, PROTOCOL_JOBS_PATH, protocol_job(ROUTES_RUN, key, 0, ANSWER_MS - 500, actions),
					   ANSWER_MS);
}

/* Those that are still being asked go on. */
static void
put_questions(void)
{
	Target	   *targets;
	int			n = read_targets(&targets);
	EndpointQuestion *next = MemoryContextAllocZero(TopMemoryContext, Max(n, 1) * sizeof(EndpointQuestion));

	for (int i = 0; i < n; i++)
	{
		EndpointQuestion *before = question_of(targets[i].name);

		strlcpy(next[i].name, targets[i].name, sizeof(next[i].name));
		if (before && before->call)
		{
			next[i] = *before;
			before->call = NULL;
			json_decref(targets[i].params);
			continue;
		}
		next[i].asked_at = GetCurrentTimestamp();
		next[i].call = ask(&targets[i]);
	}
	for (int i = 0; i < nquestions; i++)
		agents_release(questions[i].call);	/* of an endpoint that is gone */
	if (questions)
		pfree(questions);
	questions = next;
	nquestions = n;
	judge_at = now_us() + PATIENCE_MS * INT64CONST(1000);
}

void
reconcile_drop(void)
{
	for (int i = 0; i < nquestions; i++)
	{
		agents_release(questions[i].call);
		questions[i].call = NULL;
	}
	judge_at = 0;
	due = 0;
	run_until = 0;
}

/* ---- answers ---- */

/* Why it tells nothing; NULL: it does. */
static const char *
trouble(AgentCall *call)
{
	json_t	   *error = protocol_error(call->body);
	const char *state = protocol_text(call->body, "state");

	if (call->body == NULL || call->status != 200)
		return call->error[0] ? call->error : "no answer";
	if (strcmp(state, JOB_STATE_SUCCEEDED) == 0)
		return NULL;
	return protocol_text(error, "message")[0] ? protocol_text(error, "message") :
		"the router does not answer in time";
}

static void
store_answer(EndpointQuestion *question)
{
	const char *error = trouble(question->call);
	char	   *told = error ? NULL : json_dumps(protocol_result(question->call->body, 0), JSON_COMPACT);
	char		at[64];

	strlcpy(at, timestamptz_to_str(question->asked_at), sizeof(at));
	db_exec("SELECT pingpong_internal.route_seen($1, $2::pg_catalog.timestamptz, $3::pg_catalog.jsonb, $4)", 4,
			question->name, at, told ? told : "{}", error);
	free(told);
	agents_release(question->call);
	question->call = NULL;
}

static void
begin_unlocked(void)
{
	db_begin();
	db_exec("SELECT pg_catalog.set_config('lock_timeout', '" LOCKED_MS "', true)", 0);
}

/* True while some are outstanding. What came late is judged, too. */
static bool
take_answers(void)
{
	bool		waiting = false;
	bool		open = false;

	for (int i = 0; i < nquestions; i++)
	{
		if (questions[i].call && questions[i].call->done)
		{
			if (!open)
				begin_unlocked();
			open = true;
			store_answer(&questions[i]);
			judge_at = judge_at ? judge_at : now_us();
		}
		waiting |= questions[i].call != NULL;
	}
	if (open)
		db_end();
	return waiting;
}

static void
judge(void)
{
	int64		until = now_us() + VERDICT_MS * INT64CONST(1000);
	char	   *now;
	bool		wanted;
	bool		early;

	judge_at = 0;
	begin_unlocked();
	db_exec("SELECT memory_now::pg_catalog.text, due, early "
			"FROM pingpong_internal.reconcile($1::pg_catalog.jsonb)", 1, memory ? memory : "{}");
	now = MemoryContextStrdup(TopMemoryContext, db_text(0, 1));
	wanted = strcmp(db_text(0, 2), "t") == 0;
	early = strcmp(db_text(0, 3), "t") == 0;
	db_end();
	if (memory)
		pfree(memory);
	memory = now;
	/* only now: what was not committed is tried anew */
	run_until = wanted ? until : 0;
	if (early)
	{							/* what the agents told is of before the routers' answers */
		watch_soon();
		due = Min(due, now_us() + EARLY_MS * INT64CONST(1000));
	}
}

/* ---- rounds ---- */

/* A change of the table, by whomever: there is a look at once. */
static void
look_for_change(void)
{
	char		now[sizeof(table_state)];

	if (now_us() < changed_at)
		return;
	changed_at = now_us() + CHANGED_MS * INT64CONST(1000);
	db_begin();
	db_exec("SELECT pg_catalog.concat_ws(' ', pg_catalog.sum(r.generation), pg_catalog.count(*), "
			"(SELECT pg_catalog.count(*) FROM pingpong.route_endpoint)) FROM pingpong.route r", 0);
	db_copy(now, sizeof(now), 0, 1);
	db_end();
	if (strcmp(now, table_state) == 0)
		return;
	strlcpy(table_state, now, sizeof(table_state));
	due = 0;
}

long
reconcile_advance(void)
{
	int64		interval = worker_route_interval * INT64CONST(1000);
	bool		waiting;

	if (interval == 0)
		return CHANGED_MS;
	waiting = take_answers();
	if (judge_at && (!waiting || now_us() >= judge_at))
		judge();
	if (run_until != 0)
		return 0;
	look_for_change();
	due = Min(due, now_us() + interval);	/* the interval may have become shorter */
	if (now_us() >= due)
	{
		due = now_us() + interval;	/* also if this raises an error */
		put_questions();
	}
	if (judge_at)
		return (long) Max((judge_at - now_us()) / 1000 + 1, 1);
	return Min((long) ((due - now_us()) / 1000 + 1), CHANGED_MS);
}

void
reconcile_if_due(void)
{
	bool		in_time = now_us() < run_until;

	if (run_until == 0 || gate_state() != GATE_OPEN)
		return;
	run_until = 0;
	due = 0;					/* and a look behind it */
	if (in_time)
		runner_start_own("realign", false);
}
