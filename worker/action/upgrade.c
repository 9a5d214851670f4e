/*
 * upgrade.c - the actions of an upgrade in place, at the agent beside this server.
 *
 * upgrade_stop, upgrade_run and upgrade_start are one job: while it is made there is no database. The new server
 * comes up sealed by the run, and its worker goes on with open_new.
 */
#include "postgres.h"

#include "access/xlog.h"

#include "common/sqlstate.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "worker/action/action.h"
#include "worker/job.h"
#include "worker/mailbox.h"

/* They may stream from the server meanwhile: the run makes them anew. */
static json_t *
standbys_of(Run *run)
{
	json_t	   *names = json_array();

	for (int i = 0; i < run->nnodes; i++)
		if (run_makes_standby(run, run->nodes[i].name))
			json_array_append_new(names, json_string(run->nodes[i].name));
	return names;
}

static json_t *
upgrade_params(Run *run)
{
	json_t	   *carry = json_object_get(run->options, "carry");

	return json_pack("{s:i, s:s, s:i, s:o, s:o}", "to_version", run_option_int(run, "to_version", 0), "mode",
					 run_option_text(run, "mode", "copy"), "jobs", run_option_int(run, "jobs", 1), "carry",
					 json_is_array(carry) ? json_incref(carry) : json_array(), "standbys", standbys_of(run));
}

/* What most of them do: the one action of the agent, with what the run was asked for. */
static ActionResult
order_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->node, step->action->orders, upgrade_params(run));
}

/* From here on this session, and the database, tell nothing. */
static void
say_goodbye(Run *run, Step *step, const char *text)
{
	mailbox_event_hint(text, "Meanwhile \"pingpong-agent status " INT64_FORMAT "\" on the host of \"%s\" tells how "
					   "far it is.", run->id, step->node);
}

static ActionResult
stop_begin(Run *run, Step *step)
{
	ActionResult result = job_begin(run, step, step->node, ACTION_UPGRADE_STOP, upgrade_params(run));

	job_undo(run, ACTION_UPGRADE_SERVE, upgrade_params(run), json_new());
	say_goodbye(run, step, "the server goes down now, and this session with it; "
				"connect again and look at pingpong.progress");
	return result;
}

static ActionResult
run_begin(Run *run, Step *step)
{
	ActionResult result = job_begin(run, step, step->node, ACTION_UPGRADE_RUN, upgrade_params(run));

	job_undo(run, ACTION_UPGRADE_REVERT, upgrade_params(run), json_new());
	return result;
}

static ActionResult
start_begin(Run *run, Step *step)
{
	ActionResult result = job_begin(run, step, step->node, ACTION_UPGRADE_START, upgrade_params(run));

	job_undo(run, ACTION_UPGRADE_HALT, upgrade_params(run), json_new());
	return result;
}

/*
 * unseal_old, the undo of the seal: the old server takes writes again, if its agent says that the upgrade of this run
 * was not begun, or is undone. An agent that remembers nothing of it says nothing: the new server may have taken
 * writes since. It is tried until it is done, or until an operator has lifted the seal.
 */
static ActionResult
unseal_old_begin(Run *run, Step *step)
{
	GateSeal	seal;

	if (!run_has_sealed(&seal))
		return ACTION_DONE;		/* a gate that is only closed the undo of hold opens */
	if (run_is_on_new_server(run))
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
						 "this is the new server, and the upgrade has not ended well. If it is whole, run "
						 "SELECT pingpong.resume(risk => 'two primaries are possible')");
	return order_begin(run, step);
}

static ActionResult
unseal_old_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	GateSeal	seal;

	if (result != ACTION_DONE)
		return result;
	if (!json_is_true(json_object_get(protocol_result(step->call->body, 0), "known")))
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
						 "the agent does not remember the upgrade. If no other server was upgraded from this one, "
						 "run SELECT pingpong.resume(risk => 'two primaries are possible')");
	if (run_has_sealed(&seal))
		gate_unseal(psprintf("run " INT64_FORMAT " is rolled back: %s", run->id, run->sentence));
	return ACTION_DONE;
}

/* Only the new server's worker comes here: with the old one the job has failed, and the run is undone. */
static ActionResult
open_new_begin(Run *run, Step *step)
{
	GateSeal	seal;
	char		lsn[32];

	if (!run_is_on_new_server(run))
		return step_fail(step, STATE_INTERNAL_ERROR, "this server is of version %d", PG_VERSION_NUM / 10000);
	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(GetXLogInsertRecPtr()));
	json_object_set_new(run->notes, "opened_lsn", json_string(lsn));
	if (run_has_sealed(&seal))
		gate_unseal(psprintf("run " INT64_FORMAT " has upgraded this server", run->id));
	return ACTION_DONE;
}

/* ---- the way back behind the opening, by order ---- */

static json_t *
back_params(Run *run)
{
	return json_pack("{s:s}", "of", run_option_text(run, "of", ""));
}

static ActionResult
back_ready_begin(Run *run, Step *step)
{
	json_t	   *params = back_params(run);

	json_object_set_new(params, "check", json_true());
	return job_begin(run, step, step->node, ACTION_UPGRADE_BACK, params);
}

/* If it is done this server is gone, and its journal with it: the old server's worker finds the upgrade undone. */
static ActionResult
take_back_begin(Run *run, Step *step)
{
	say_goodbye(run, step, "the server goes down now, and this session with it; the old one comes, without this run");
	return job_begin(run, step, step->node, ACTION_UPGRADE_BACK, back_params(run));
}

/* unseal_new, the undo of the seal: only when the agent says that the old server was not told to start. */
static ActionResult
unseal_new_begin(Run *run, Step *step)
{
	GateSeal	seal;

	if (!run_has_sealed(&seal))
		return ACTION_DONE;
	return job_begin(run, step, step->node, ACTION_UPGRADE_KEEP, back_params(run));
}

static ActionResult
unseal_new_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	GateSeal	seal;

	if (result == ACTION_DONE && run_has_sealed(&seal))
		gate_unseal(psprintf("run " INT64_FORMAT " is rolled back: %s", run->id, run->sentence));
	return result;
}

static ActionResult
finalize_begin(Run *run, Step *step)
{
	json_t	   *params = back_params(run);

	json_object_set_new(params, "standby", json_boolean(strcmp(step->node, run->source) != 0));
	return job_begin(run, step, step->node, ACTION_UPGRADE_FINALIZE, params);
}

/* ---- a rehearsal ---- */

/* The standby that is copied, so that this server has no work with it; JSON's null: there is none. */
static json_t *
copied_standby(Run *run)
{
	for (int i = 0; i < run->nnodes; i++)
	{
		RunNode    *node = &run->nodes[i];

		if (strcmp(node->kind, "postgres") == 0 && strcmp(node->name, run->source) != 0 && !node->away &&
			node->upstream[0] == '\0')
			return json_pack("{s:s, s:s, s:i}", "name", node->name, "host", node->host, "port", node->port);
	}
	return json_null();
}

static ActionResult
rehearse_clone_begin(Run *run, Step *step)
{
	json_t	   *params = upgrade_params(run);

	json_object_set_new(params, "from", copied_standby(run));
	return job_begin(run, step, step->node, ACTION_REHEARSE_CLONE, params);
}

const Action upgrade_actions[] = {
	{"upgrade_prepare", order_begin, job_advance, 0, ACTION_UPGRADE_PREPARE},
	{"upgrade_discard", order_begin, job_advance, 0, ACTION_UPGRADE_DISCARD},
	{"upgrade_stop", stop_begin, job_advance, 0, ACTION_UPGRADE_STOP},
	{"upgrade_run", run_begin, job_advance, 0, ACTION_UPGRADE_RUN},
	{"upgrade_start", start_begin, job_advance, ACTION_FORWARD_ONLY, ACTION_UPGRADE_START},
	{"unseal_old", unseal_old_begin, unseal_old_advance, ACTION_UNTIL_DONE, ACTION_UPGRADE_DISCARD},
	{"open_new", open_new_begin, NULL, ACTION_OPENS},
	{"back_ready", back_ready_begin, job_advance, 0, ACTION_UPGRADE_BACK},
	{"take_back", take_back_begin, job_advance, ACTION_FORWARD_ONLY, ACTION_UPGRADE_BACK},
	{"unseal_new", unseal_new_begin, unseal_new_advance, ACTION_UNTIL_DONE, ACTION_UPGRADE_KEEP},
	{"upgrade_finalize", finalize_begin, job_advance, 0, ACTION_UPGRADE_FINALIZE},
	{"rehearse_clone", rehearse_clone_begin, job_advance, 0, ACTION_REHEARSE_CLONE},
	{"rehearse_run", order_begin, job_advance, 0, ACTION_REHEARSE_RUN},
	{"rehearse_back", order_begin, job_advance, 0, ACTION_REHEARSE_BACK},
	{"rehearse_clear", order_begin, job_advance, ACTION_ONCE, ACTION_REHEARSE_CLEAR},
	{"extensions", order_begin, job_advance, 0, ACTION_UPGRADE_EXTENSIONS},
	{"analyze", order_begin, job_advance, 0, ACTION_UPGRADE_STATISTICS},
	{NULL}
};
