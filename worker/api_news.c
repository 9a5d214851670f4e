/*
 * api_news.c - pingpong_internal.agent_news() and copies_news(): what the agents told last, for the views of state.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "gate/state.h"
#include "worker/news.h"

PG_FUNCTION_INFO_V1(pingpong_agent_news);
PG_FUNCTION_INFO_V1(pingpong_copies_news);

static void
put_time(Datum *value, bool *null, TimestampTz at)
{
	*value = TimestampTzGetDatum(at);
	*null = at == 0;
}

static void
put_text(Datum *value, bool *null, const char *text)
{
	*value = CStringGetTextDatum(text);
	*null = text[0] == '\0';
}

static void
put_news(ReturnSetInfo *rsinfo, const AgentNews *news)
{
	Datum		values[10];
	bool		nulls[10] = {false};

	put_text(&values[0], &nulls[0], news->node);
	put_time(&values[1], &nulls[1], news->asked_at);
	put_time(&values[2], &nulls[2], news->seen_at);
	put_time(&values[3], &nulls[3], news->silent_since);
	put_text(&values[4], &nulls[4], news->error);
	put_text(&values[5], &nulls[5], news->role);
	values[6] = Int32GetDatum(news->timeline);
	nulls[6] = news->timeline == 0;
	values[7] = LSNGetDatum(news->lsn);
	nulls[7] = news->lsn == InvalidXLogRecPtr;
	values[8] = BoolGetDatum(news->streaming);
	put_text(&values[9], &nulls[9], news->version);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A row of each node whose agent was asked. */
Datum
pingpong_agent_news(PG_FUNCTION_ARGS)
{
	AgentNews  *news;
	CopiesNews	copies;
	int			n;

	gate_require_shmem();
	InitMaterializedSRF(fcinfo, 0);
	news = palloc(NEWS_NODES * sizeof(AgentNews));
	n = news_read(news, &copies);
	for (int i = 0; i < n; i++)
		put_news((ReturnSetInfo *) fcinfo->resultinfo, &news[i]);
	return (Datum) 0;
}

/* Nulls: the worker has not counted yet. */
Datum
pingpong_copies_news(PG_FUNCTION_ARGS)
{
	AgentNews  *news;
	CopiesNews	copies;
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3];

	gate_require_shmem();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	news = palloc(NEWS_NODES * sizeof(AgentNews));
	news_read(news, &copies);
	values[0] = Int32GetDatum(copies.copies);
	nulls[0] = copies.since == 0;
	put_time(&values[1], &nulls[1], copies.since);
	put_time(&values[2], &nulls[2], copies.counted_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
