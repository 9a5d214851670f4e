/*
 * job.c - one job at one agent, for one step.
 *
 * The key of a job is (run, step). The agent runs each key once, and answers a known key with the job as it is. So
 * the job may be posted again by a worker that lost the answer, by its successor, and by the worker of the other
 * server.
 *
 * A job is posted, then asked for with long polls until it has ended.
 * - No answer, or one that is no JSON: ask again, until the time of the step is up. An agent that is not heard for
 *   UNHEARD_US before the blackout ends the run.
 * - 404: the order never arrived. It is given again, with the same key.
 * - A refusal (401, 409), or the end that the job reports, is final.
 *
 * The order to promote is special: as long as no byte of it was sent it does not count as given, see
 * order_may_be_out().
 */
#include "postgres.h"

#include "common/sqlstate.h"
#include "worker/clock.h"
#include "worker/job.h"

#define LONG_POLL_MS	2000
#define REPOST_US		(50 * 1000)
#define UNHEARD_US		(3 * 1000 * 1000)

char *
job_url(Run *run, const char *node)
{
	RunNode    *n = run_node(run, node);

	return n ? n->url : NULL;
}

static json_t *
list_of(const char *action, json_t *params)
{
	json_t	   *actions = json_array();

	json_array_append_new(actions, protocol_action(action, params));
	return actions;
}

/* Of an undo: the jobs of the steps that it undoes, which may still be under way, or their orders. */
static void
name_undone(Run *run, const Step *undo, json_t *job)
{
	char		key[128];

	if (run->undo == NULL || undo < run->undo || undo >= run->undo + run->nundo)
		return;
	for (int i = 0; i < run->nsteps; i++)
		if (step_is_undone_by(&run->steps[i], undo) && run->steps[i].state != STEP_SKIPPED)
		{
			step_key(&run->steps[i], key, sizeof(key));
			protocol_undoes(job, key);
		}
}

/* Takes over `actions`. */
static json_t *
order_of(Run *run, const char *key, int wait_ms, json_t *actions)
{
	json_t	   *order = protocol_job(run->key, key, run->epoch, wait_ms, actions);

	protocol_number(order, run->id);
	return order;
}

AgentCall *
job_post(Run *run, const char *node, const char *key, const char *action, json_t *params, int wait_ms, int timeout_ms)
{
	char	   *url = job_url(run, node);

	if (url == NULL)
	{
		json_decref(params);
		return NULL;
	}
	return agents_post(url, PROTOCOL_JOBS_PATH,
					   order_of(run, key, wait_ms, list_of(action, params)), timeout_ms);
}

bool
job_take_answers(Run *run, void (*take) (const char *node, AgentCall *call))
{
	bool		waiting = false;

	for (int i = 0; i < run->nnodes; i++)
	{
		if (run->calls[i] == NULL)
			continue;
		if (!run->calls[i]->done)
		{
			waiting = true;
			continue;
		}
		take(run->nodes[i].name, run->calls[i]);
		agents_release(run->calls[i]);
		run->calls[i] = NULL;
	}
	return waiting;
}

/* Why a call gave no usable answer, for a sentence; the agent's own words where there are some. */
const char *
call_problem(AgentCall *call)
{
	static char problem[PP_TEXT_LEN];
	json_t	   *error = protocol_error(call->body);
	const char *message = protocol_text(error, "message");

	if (call->status == 401)
		strlcpy(problem, "it refuses this server's token or certificate (401)", sizeof(problem));
	else if (call->status == 409)
		strlcpy(problem, "it knows a newer epoch than this server (409)", sizeof(problem));
	else if (call->body == NULL)
		strlcpy(problem, call->error[0] ? call->error : "no answer", sizeof(problem));
	else if (message[0])
		strlcpy(problem, message, sizeof(problem));
	else
		snprintf(problem, sizeof(problem), "status %d, and no words that are understood", call->status);
	return problem;
}

ActionResult
job_order(Run *run, Step *step, const char *node, json_t *actions)
{
	char	   *url = job_url(run, node);
	json_t	   *job;

	if (url == NULL)
	{
		json_decref(actions);
		return step_fail(step, STATE_UNDEFINED_OBJECT, "node \"%s\" does not exist", node);
	}
	strlcpy(step->url, url, sizeof(step->url));
	step_key(step, step->key, sizeof(step->key));
	step->posting = true;
	job = order_of(run, step->key, LONG_POLL_MS, actions);
	name_undone(run, step, job);
	step->call = agents_post(url, PROTOCOL_JOBS_PATH, job, LONG_POLL_MS + 3000);
	return ACTION_WAIT;
}

/* Gives the job to the agent of `node`, or into the list of its job; takes over `params`. */
ActionResult
job_begin(Run *run, Step *step, const char *node, const char *action, json_t *params)
{
	if (run->collected == NULL)
		return job_order(run, step, node, list_of(action, params));
	step_key(step, step->key, sizeof(step->key));
	json_array_append_new(run->collected, protocol_part(step->key, action, params));
	return ACTION_WAIT;
}

void
job_undo(Run *run, const char *action, json_t *params, json_t *take)
{
	size_t		n = json_array_size(run->collected);

	if (n > 0)
	{
		protocol_undo(json_array_get(run->collected, n - 1), action, params, take);
		return;
	}
	json_decref(params);			/* a job of its own is undone by the run */
	json_decref(take);
}

/*
 * An order of which no byte was sent (connection refused) is not an order: there is nothing to be in doubt about. One
 * attempt that may have arrived is enough for it to be one.
 */
static void
order_may_be_out(Run *run, Step *step)
{
	if (step == run_promote_step(run) && !run->is_target && !step->sent)
		run->ordered = false;
}

/* Behind a promotion, and behind the start of an upgrade's new server. */
static bool
only_goes_forward(Run *run)
{
	return run->is_target || run_find_step(run, ACTION_FORWARD_ONLY, NULL, STEP_SUCCEEDED) != NULL;
}

/*
 * No usable answer. A GET finds out whether the job arrived: 404 means that it
 * did not, and then the step is begun again.
 */
static ActionResult
no_answer(Run *run, Step *step)
{
	int64		now = now_us();

	snprintf(step->message, sizeof(step->message), "no answer from the agent: %s", call_problem(step->call));
	step_release(step);
	order_may_be_out(run, step);
	if (step->given_up || step->overdue)
		return step_fail(step, STATE_CANCELED, "given up: %s", pstrdup(step->message));
	if (step->unheard == 0)
		step->unheard = now;
	if (!run->ordered && step->on_failure != FAIL_RETRY && step->mark != MARK_AWAY &&
		now - step->unheard > UNHEARD_US)
	{							/* even if the step is not essential: the run needs the agent, while it can go back */
		step->on_failure = only_goes_forward(run) ? FAIL_CONTINUE : FAIL_UNDO;
		return step_fail(step, STATE_CONNECTION_FAILURE, "%s", pstrdup(step->message));
	}
	step->post_at = now + REPOST_US;
	return ACTION_WAIT;
}

static void
ask_again(Run *run, Step *step)
{
	char		path[256];

	step->post_at = 0;
	step->posting = false;
	protocol_job_path(path, sizeof(path), run->key, step->key, LONG_POLL_MS);
	step->call = agents_get(step->url, path, LONG_POLL_MS + 3000);
}

void
job_resume(Run *run, Step *step)
{
	char	   *url = job_url(run, step->node);

	strlcpy(step->url, url ? url : "", sizeof(step->url));
	step_key(step, step->key, sizeof(step->key));
	step->sent = true;			/* for all that is known here */
	step->post_at = now_us();
}

/* The agent is told to end the job; its end is then seen as that of any other. */
void
job_cancel(Run *run, Step *step)
{
	char		path[256];

	step->sent |= step->posting && step->call && (!step->call->done || step->call->sent);
	step_release(step);
	step->posting = false;
	step->post_at = 0;
	protocol_cancel_path(path, sizeof(path), run->key, step->key);
	step->call = agents_post(step->url, path, json_new(), 3000);
}

static void
note_progress(Step *step, json_t *job)
{
	const char *text = json_string_value(json_object_get(json_object_get(job, "progress"), "text"));
	json_t	   *percent = json_object_get(json_object_get(job, "progress"), "percent");

	if (text && json_is_number(percent))
		snprintf(step->message, sizeof(step->message), "%s, %.0f %%", text, json_number_value(percent));
	else if (text)
		strlcpy(step->message, text, sizeof(step->message));
}

/* The agent's words: what failed, the facts, and, for the operator, the hint. */
static ActionResult
job_failed(Step *step, json_t *error)
{
	const char *code = protocol_text(error, "code");
	const char *message = protocol_text(error, "message");
	const char *detail = protocol_text(error, "detail");

	/* given up in the middle of an attempt: what went wrong in the one before is what people want to know */
	if (step->given_up && strcmp(code, STATE_CANCELED) == 0 && step->failure.sqlstate[0])
	{
		snprintf(step->message, sizeof(step->message), "%s%s%s", step->failure.message,
				 step->failure.detail[0] ? ": " : "", step->failure.detail);
		return ACTION_FAILED;
	}
	step_fail(step, strlen(code) == 5 ? code : STATE_SYSTEM_ERROR, "%s%s%s", message[0] ? message : "the job failed",
			  detail[0] ? ": " : "", detail);
	strlcpy(step->failure.message, message[0] ? message : "the job failed", sizeof(step->failure.message));
	strlcpy(step->failure.detail, detail, sizeof(step->failure.detail));
	strlcpy(step->failure.hint, protocol_text(error, "hint"), sizeof(step->failure.hint));
	return ACTION_FAILED;
}

/* What an action has told of itself before it ended, or although it failed: its undo takes that. */
static void
keep_for_undo(Step *step, json_t *job)
{
	if (step->undo[0] && protocol_result(job, 0))
		step_keep(step, protocol_result(job, 0));
}

static ActionResult
judge(Run *run, Step *step)
{
	AgentCall  *call = step->call;
	const char *state = json_string_value(json_object_get(call->body, "state"));
	ActionResult result;

	step->unheard = 0;
	if (call->status == 404 && (step->given_up || step->overdue) && (step->mark != MARK_AWAY || !step->sent))
		return step_fail(step, STATE_CANCELED, "given up before the agent had begun");
	if (call->status == 404 && step->mark == MARK_AWAY && !step->posting && step->sent)
		return step_fail(step, STATE_SYSTEM_ERROR,
						 "the agent does not know the job any more: what became of it is not known");
	if (call->status == 404)
	{							/* the job never arrived: begin again, same key */
		step_release(step);
		return step->leader ? ACTION_AGAIN : step->action->begin(run, step);
	}
	if (call->status == 401 || call->status == 409)
	{
		/* trying again would not change it: the node that is to obey follows another primary */
		if (call->status == 409 && step->on_failure == FAIL_RETRY)
			step->on_failure = FAIL_CONTINUE;
		return step_fail(step, call->status == 401 ? STATE_INVALID_AUTHORIZATION : STATE_NOT_IN_PREREQUISITE_STATE,
						 "the agent answers: %s", call_problem(call));
	}
	if (call->status != 200)
		return call->status >= 500 || call->status == 0 ? no_answer(run, step) :
			job_failed(step, protocol_error(call->body));
	if (state == NULL)
		return no_answer(run, step);
	if (strcmp(state, JOB_STATE_RUNNING) == 0)
	{
		note_progress(step, call->body);
		keep_for_undo(step, call->body);
		step_release(step);
		ask_again(run, step);
		return ACTION_WAIT;
	}
	if (strcmp(state, JOB_STATE_SUCCEEDED) == 0)
	{
		strlcpy(step->message, protocol_text(protocol_result(call->body, 0), "message"), sizeof(step->message));
		step_keep(step, protocol_result(call->body, 0));
		result = ACTION_DONE;
	}
	else
	{
		keep_for_undo(step, call->body);
		result = job_failed(step, protocol_error(call->body));
	}
	return result;
}

/* What every job's action does while it waits. */
ActionResult
job_advance(Run *run, Step *step)
{
	if (step->post_at != 0)
	{
		if (now_us() >= step->post_at)
			ask_again(run, step);
		return ACTION_WAIT;
	}
	if (!step->call->done)
		return ACTION_WAIT;
	step->sent |= step->posting && step->call->sent;
	if (step->call->body == NULL)
		return no_answer(run, step);
	return judge(run, step);
}
