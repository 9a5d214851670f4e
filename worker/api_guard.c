/*
 * api_guard.c - pingpong_internal.guard_lines() and guard_state(): what the agents said at the last start.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "gate/state.h"
#include "worker/guard.h"

PG_FUNCTION_INFO_V1(pingpong_guard_lines);
PG_FUNCTION_INFO_V1(pingpong_guard_state);

static void
put_line(ReturnSetInfo *rsinfo, const GuardLine *line)
{
	static const char *const kinds[] = {"postgres", "router", "self"};
	Datum		values[5];
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(line->node);
	values[1] = CStringGetTextDatum(kinds[line->kind]);
	values[2] = CStringGetTextDatum(guard_word_name(line->word));
	values[3] = CStringGetTextDatum(line->detail);
	values[4] = TimestampTzGetDatum(line->asked_at);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A row of each agent that was asked. */
Datum
pingpong_guard_lines(PG_FUNCTION_ARGS)
{
	GuardNews  *news;

	gate_require_shmem();
	InitMaterializedSRF(fcinfo, 0);
	news = palloc(sizeof(GuardNews));
	guard_read(news);
	for (int i = 0; i < news->n; i++)
		put_line((ReturnSetInfo *) fcinfo->resultinfo, &news->lines[i]);
	return (Datum) 0;
}

Datum
pingpong_guard_state(PG_FUNCTION_ARGS)
{
	static const char *const phases[] = {"none", "asking", "closed", "proved", "majority", "unanswered", "by hand",
	"replaced"};
	GuardNews  *news;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};

	gate_require_shmem();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	news = palloc(sizeof(GuardNews));
	guard_read(news);
	values[0] = CStringGetTextDatum(phases[news->phase]);
	values[1] = TimestampTzGetDatum(news->since);
	nulls[1] = news->since == 0;
	values[2] = TimestampTzGetDatum(news->ended_at);
	nulls[2] = news->ended_at == 0;
	values[3] = CStringGetTextDatum(news->sentence);
	nulls[3] = news->sentence[0] == '\0';
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
