/*
 * small.c
 *		pg.checkpoint, note: orders of a few lines.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/action/small.h"
#include "agent/core/clock.h"
#include "agent/job/params.h"
#include "agent/pg/pg.h"

#define CHECKPOINT_TIMEOUT_MS 600000

int
action_pg_checkpoint(ActionContext *ctx, json_t *params, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(ctx, NULL, (int) param_int(params, "timeout_ms", CHECKPOINT_TIMEOUT_MS));
	PGresult   *res = NULL;
	double		start = clock_monotonic_ms();

	if (!conn)
		return -1;
	res = pg_query_or_fail(ctx, conn, "CHECKPOINT", 0, NULL);
	PQfinish(conn);
	if (!res)
		return -1;
	PQclear(res);
	json_object_set_new(result, "checkpoint_ms", json_real(clock_monotonic_ms() - start));
	return 0;
}

/* A word that one worker leaves for the other one; the job's record keeps it. */
int
action_note(ActionContext *ctx, json_t *params, json_t *result)
{
	(void) ctx;
	json_object_update(result, params);
	return 0;
}
