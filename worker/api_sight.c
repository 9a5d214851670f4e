/*
 * api_sight.c - pingpong_internal.sight(): what the agents told when a failover was asked about.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "gate/state.h"
#include "worker/sight.h"

PG_FUNCTION_INFO_V1(pingpong_sight);

#define COLUMNS			21

static void
put_sight(ReturnSetInfo *rsinfo, const Sight *s)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS] = {false};

	values[0] = CStringGetTextDatum(s->node);
	values[1] = TimestampTzGetDatum(s->at);
	values[2] = BoolGetDatum(s->answered);
	values[3] = CStringGetTextDatum(s->error);
	nulls[3] = s->error[0] == '\0';
	values[4] = CStringGetTextDatum(s->role);
	nulls[4] = s->role[0] == '\0';
	values[5] = BoolGetDatum(s->running);
	values[6] = Int32GetDatum(s->timeline);
	nulls[6] = s->timeline == 0;
	values[7] = CStringGetTextDatum(s->system);
	nulls[7] = s->system[0] == '\0';
	values[8] = LSNGetDatum(s->received);
	nulls[8] = s->received == InvalidXLogRecPtr;
	values[9] = LSNGetDatum(s->replayed);
	nulls[9] = s->replayed == InvalidXLogRecPtr;
	values[10] = BoolGetDatum(s->replaying);
	values[11] = BoolGetDatum(s->streaming);
	values[12] = CStringGetTextDatum(s->sender);
	nulls[12] = s->sender[0] == '\0';
	values[13] = Float8GetDatum(s->heard_ms);
	nulls[13] = s->heard_ms < 0;
	values[14] = Int64GetDatum(s->epoch);
	values[15] = Int64GetDatum(s->claimed);
	values[16] = BoolGetDatum(s->fences);
	values[17] = CStringGetTextDatum(s->sync_names);
	values[18] = BoolGetDatum(s->reached > 0);
	nulls[18] = s->reached < 0;
	values[19] = CStringGetTextDatum(s->arbiter);
	nulls[19] = s->arbiter[0] == '\0';
	values[20] = CStringGetTextDatum(s->arbiter_error);
	nulls[20] = s->arbiter_error[0] == '\0';
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* A row of each node that was asked. */
Datum
pingpong_sight(PG_FUNCTION_ARGS)
{
	Sight	   *sights;
	int			n;

	gate_require_shmem();
	InitMaterializedSRF(fcinfo, 0);
	sights = palloc(SIGHT_NODES * sizeof(Sight));
	n = sight_read(sights);
	for (int i = 0; i < n; i++)
		put_sight((ReturnSetInfo *) fcinfo->resultinfo, &sights[i]);
	return (Datum) 0;
}
