/*
 * api_actions.c - pingpong_internal.run_actions(): the actions of this module, and what each may order from an agent.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/varlena.h"
#include "catalog/pg_type.h"

#include "worker/action/table.h"

PG_FUNCTION_INFO_V1(pingpong_run_actions);

static Datum
words(const char *text)
{
	char	   *rest = pstrdup(text ? text : "");
	Datum		items[16];
	int			n = 0;

	for (char *word = strtok_r(rest, " ", &rest); word && n < lengthof(items); word = strtok_r(NULL, " ", &rest))
		items[n++] = CStringGetTextDatum(word);
	return PointerGetDatum(construct_array(items, n, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
pingpong_run_actions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const Action *action;

	InitMaterializedSRF(fcinfo, 0);
	for (int n = 0; (action = action_at(n)) != NULL; n++)
	{
		Datum		values[2] = {CStringGetTextDatum(action->name), words(action->orders)};
		bool		nulls[2] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
