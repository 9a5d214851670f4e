/*
 * promote.c - the promotion, and the token that permits it.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "common/names.h"
#include "common/sqlstate.h"
#include "worker/action/action.h"
#include "worker/baton.h"
#include "worker/blackout.h"
#include "worker/clock.h"
#include "worker/job.h"
#include "worker/settings.h"

static ActionResult
arm_begin(Run *run, Step *step)
{
	char		sysid[32];
	json_t	   *params;

	snprintf(sysid, sizeof(sysid), UINT64_FORMAT, GetSystemIdentifier());
	params = json_pack("{s:i, s:s, s:i, s:b, s:s, s:b}", "ttl_ms", run_token_ttl_ms(run), "system_identifier", sysid,
					   "timeline", run->unrecorded ?
					   (int) json_integer_value(json_object_get(run->notes, "timeline")) :
					   (int) GetWALInsertionTimeLine(), "prove", true, "version", PINGPONG_AGENT_VERSION,
					   "unrecorded", (int) run->unrecorded);
	if (run->unrecorded && strcmp(step->node, worker_self()) != 0)
		json_object_set_new(params, "baton", baton_json(run));
	return job_begin(run, step, step->node, ACTION_TOKEN_ARM, params);
}

/* Without a proof that the target's worker could go on there is no point in beginning. */
static ActionResult
arm_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);

	if (result != ACTION_DONE)
		return result;
	run->armed_us = now_us();
	run->target_trip_ms = Max(0, step->call->ms - json_number_value(json_object_get(step->call->body, "elapsed_ms")));
	if (!json_is_true(json_object_get(protocol_result(step->call->body, 0), "woken")) ||
		!json_is_true(json_object_get(protocol_result(step->call->body, 0), "proved")) ||
		protocol_text(protocol_result(step->call->body, 0), "memory")[0] == '\0')
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
						 "the agent's answer lacks the proof that its server could take the run over");
	return ACTION_DONE;
}

static ActionResult
burn_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, ACTION_TOKEN_BURN, json_new());
}

/*
 * The order to a distant target does not wait for the news that it has replayed the seal LSN: it tells the agent to
 * wait for that, for what is left of the permitted blackout. Its agent refuses it then, and the token is burned.
 */
static ActionResult
promote_begin(Run *run, Step *step)
{
	ActionResult result;
	int			limit = run_option_int(run, "max_blackout_ms", 10000);
	char		lsn[32];
	json_t	   *timeline = json_pack("{s:f, s:o}", "elapsed_ms", run->elapsed_ms + run_blackout_so_far(run), "steps",
									 blackout_steps(run));
	json_t	   *params = json_pack("{s:i, s:o}", "timeout_ms", limit, "timeline", timeline);

	run->ordered = true;
	if (run->unrecorded)
		baton_write(run);		/* whoever finds it asks the token, from here on */
	else
	{							/* of a failover there is none: a promotion replays all that is there */
		snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(run->seal_lsn));
		json_object_set_new(timeline, "seal_lsn", json_string(lsn));
		json_object_set_new(params, "seal_lsn", json_string(lsn));
		if (run->replays_there)
			json_object_set_new(params, "replay_ms", json_integer((int) Max(0, limit - run_blackout_so_far(run))));
	}
	result = job_begin(run, step, step->node, ACTION_PG_PROMOTE, params);
	agents_advance();			/* at once */
	return result;
}

const Action promote_actions[] = {
	{"arm", arm_begin, arm_advance, 0, ACTION_TOKEN_ARM},
	{"burn", burn_begin, job_advance, 0, ACTION_TOKEN_BURN},
	{"promote", promote_begin, job_advance, 0, ACTION_PG_PROMOTE " " ACTION_NOTE},
	{NULL}
};
