/*
 * watch.c - asks all agents once in pingpong.agent_interval how their nodes are (GET /v1/state), and keeps what they
 * tell in shared memory.
 *
 * On a standby too: what it knows of the others then does not depend on the primary. A question is a call of the
 * worker's HTTP client and holds nothing meanwhile. The next round begins when all questions of the last one are
 * answered or given up, so that there are never more of them than nodes.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "worker/agents.h"
#include "worker/clock.h"
#include "worker/db.h"
#include "worker/news.h"
#include "worker/settings.h"
#include "worker/watch.h"

#define ANSWER_MS		2000
#define LOOK_MS			1000	/* while answers are waited for: their sockets wake the loop before */

typedef struct StateQuestion
{
	char		node[PP_NAME_LEN];
	TimestampTz asked_at;
	AgentCall  *call;			/* NULL: it is done with */
} StateQuestion;

static StateQuestion questions[NEWS_NODES];
static int	nquestions;
static int64 due;				/* now_us(); of the next round */

static void
put_questions(void)
{
	char		names[NEWS_NODES][PP_NAME_LEN];
	char	   *urls[NEWS_NODES];
	MemoryContext context = CurrentMemoryContext;
	int			n;

	db_begin();
	n = (int) db_exec("SELECT name, agent_url FROM pingpong.node ORDER BY name LIMIT "
					  CppAsString2(NEWS_NODES), 0);
	for (int i = 0; i < n; i++)
	{
		db_copy(names[i], PP_NAME_LEN, i, 1);
		urls[i] = MemoryContextStrdup(context, db_text(i, 2));
	}
	db_end();
	news_keep(names, n);
	for (nquestions = 0; nquestions < n; nquestions++)
	{
		StateQuestion   *question = &questions[nquestions];

		strlcpy(question->node, names[nquestions], sizeof(question->node));
		question->asked_at = GetCurrentTimestamp();
		question->call = agents_get(urls[nquestions], PROTOCOL_STATE_PATH, ANSWER_MS);
	}
}

static XLogRecPtr
lsn_from(const char *text)
{
	bool		bad = false;
	XLogRecPtr	lsn = text ? pg_lsn_in_internal(text, &bad) : InvalidXLogRecPtr;

	return bad ? InvalidXLogRecPtr : lsn;
}

/* The age is that at the answer, so what it was at the question is not less: the news are never shown as too new. */
static void
take_state(const StateQuestion *question, json_t *body)
{
	AgentNews	news;
	double		age_ms = json_number_value(json_object_get(body, "age_ms"));
	const char *role = json_string_value(json_object_get(body, "role"));
	const char *version = json_string_value(json_object_get(body, "version"));
	const char *system = json_string_value(json_object_get(body, "system_identifier"));

	memset(&news, 0, sizeof(news));
	strlcpy(news.node, question->node, sizeof(news.node));
	news.asked_at = question->asked_at;
	news.seen_at = question->asked_at - (int64) (Min(Max(age_ms, 0), 1e9) * 1000);
	strlcpy(news.role, role ? role : "unknown", sizeof(news.role));
	news.timeline = (int) json_integer_value(json_object_get(body, "timeline"));
	news.lsn = lsn_from(json_string_value(json_object_get(body, "lsn")));
	news.streaming = json_is_true(json_object_get(body, "streaming"));
	strlcpy(news.version, version ? version : "", sizeof(news.version));
	news.system = system ? strtoull(system, NULL, 10) : 0;
	news.epoch = json_integer_value(json_object_get(body, "epoch"));
	news_told(&news);
}

static void
take_answer(StateQuestion *question)
{
	const char *name = json_string_value(json_object_get(question->call->body, "node"));
	char		error[256];

	if (question->call->body == NULL || question->call->status != 200)
		news_silent(question->node, question->asked_at, question->call->error);
	else if (name == NULL || strcmp(name, question->node) != 0)
	{
		snprintf(error, sizeof(error), "the agent calls itself \"%s\"", name ? name : "");
		news_silent(question->node, question->asked_at, error);
	}
	else
		take_state(question, question->call->body);
	agents_release(question->call);
	question->call = NULL;
}

/* True while some are outstanding. */
static bool
take_answers(void)
{
	bool		waiting = false;

	for (int i = 0; i < nquestions; i++)
	{
		if (questions[i].call && questions[i].call->done)
			take_answer(&questions[i]);
		if (questions[i].call)
			waiting = true;
	}
	if (!waiting)
		nquestions = 0;
	return waiting;
}

static void
count_copies(void)
{
	db_begin();
	if (db_exec("SELECT pg_catalog.count(*) FROM pingpong_internal.status_rows() WHERE takes_over", 0) == 1)
		news_counted(atoi(db_text(0, 1)), GetCurrentTimestamp());
	db_end();
}

void
watch_soon(void)
{
	due = 0;
}

long
watch_advance(void)
{
	bool		asked = nquestions > 0;
	int64		interval = worker_agent_interval * INT64CONST(1000);

	if (take_answers())
		return LOOK_MS;
	due = Min(due, now_us() + interval);	/* the interval may have become shorter */
	if (asked)
		count_copies();
	if (now_us() >= due)
	{
		due = now_us() + interval;	/* also if this raises an error */
		put_questions();
		return LOOK_MS;
	}
	return (long) ((due - now_us()) / 1000 + 1);
}
