/*
 * api_samples.c - what the samples say: pingpong_internal.sample_trends(window_ms), for the view pingpong.slots, and
 * wal_age(lsn), for routes.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "gate/state.h"
#include "worker/samples.h"

PG_FUNCTION_INFO_V1(pingpong_sample_trends);
PG_FUNCTION_INFO_V1(pingpong_wal_age);

static void
put_trend(ReturnSetInfo *rsinfo, const Trend *trend)
{
	Datum		values[10] = {CStringGetTextDatum(trend->name), TimestampTzGetDatum(trend->since),
	TimestampTzGetDatum(trend->until)};
	bool		nulls[10] = {trend->name[0] == '\0'};

	for (int point = 0; point < 3; point++)
	{
		values[3 + point] = LSNGetDatum(trend->lsn[point]);
		values[6 + point] = LSNGetDatum(trend->restart[point]);
		nulls[6 + point] = trend->restart[point] == InvalidXLogRecPtr;
	}
	values[9] = Int64GetDatum(trend->free_bytes);
	nulls[9] = trend->free_bytes < 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A row of the WAL alone (slot_name is null), and one for each slot. None: no sample was taken yet. */
Datum
pingpong_sample_trends(PG_FUNCTION_ARGS)
{
	int64		window_ms = PG_GETARG_INT32(0);
	Trend	   *trends;
	int			n;

	gate_require_shmem();
	InitMaterializedSRF(fcinfo, 0);
	n = samples_trends(window_ms * 1000, &trends);
	for (int i = 0; i < n; i++)
		put_trend((ReturnSetInfo *) fcinfo->resultinfo, &trends[i]);
	return (Datum) 0;
}

/* How far behind a standby is at least that has replayed up to there. */
Datum
pingpong_wal_age(PG_FUNCTION_ARGS)
{
	Interval   *age = palloc0(sizeof(Interval));

	gate_require_shmem();
	age->time = samples_age(PG_GETARG_LSN(0), GetCurrentTimestamp());
	PG_RETURN_INTERVAL_P(age);
}
