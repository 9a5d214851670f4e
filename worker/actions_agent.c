/*
 * actions_agent.c - the actions that an agent does: each is one job.
 *
 * A job's key is (run, step), so it may be posted again and again: by a worker
 * that lost the answer, by its successor, and by the other worker. What fails
 * below HTTP, or comes back as anything but JSON, is posted again until the
 * step's time is up; what the agent refuses or the job reports is final.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/guc.h"

#include "common/names.h"
#include "gate/gate.h"
#include "worker/journal.h"
#include "worker/run.h"

#define LONG_POLL_MS	2000
#define REPOST_US		(50 * 1000)
#define TTL_MS			30000	/* of a promote token, beyond the permitted blackout */
#define UNHEARD_US		(3 * 1000 * 1000)
#define PAUSE_PATIENCE_MS	250 /* a transaction that takes longer is long */

char *
job_url(Run *run, const char *node)
{
	RunNode    *n = run_node(run, node);

	return n ? n->url : NULL;
}

/* The body of POST /v1/jobs for one action; takes over `params`. */
json_t *
job_request(Run *run, const char *step, const char *action, json_t *params, int wait_ms)
{
	return json_pack("{s:s, s:s, s:I, s:i, s:[{s:s, s:o}]}", "run", run->key, "step", step,
					 "epoch", (json_int_t) run->epoch, "wait_ms", wait_ms, "actions",
					 "action", action, "params", params);
}

/* The result of a job's only action (borrowed), or NULL. */
json_t *
job_result(json_t *job)
{
	return json_array_get(json_object_get(job, "results"), 0);
}

/* Why a call gave no usable answer, for a sentence; the agent's own words where there are some. */
const char *
call_problem(AgentCall *call)
{
	static char problem[PP_TEXT_LEN];
	json_t	   *error = json_object_get(call->body, "error");
	const char *message = json_text(error, "message");

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

static void
post(Run *run, Step *step, const char *action, json_t *params)
{
	step->posting = true;
	step->call = agents_post(step->url, "/v1/jobs", job_request(run, step->key, action, params, LONG_POLL_MS),
							 LONG_POLL_MS + 3000);
}

/* Gives the job to the agent of `node`; takes over `params`. */
ActionResult
job_begin(Run *run, Step *step, const char *node, const char *action, json_t *params)
{
	char	   *url = job_url(run, node);
	size_t		used;

	if (url == NULL)
	{
		json_decref(params);
		return step_fail(step, "42704", "node \"%s\" does not exist", node);
	}
	strlcpy(step->url, url, sizeof(step->url));
	used = snprintf(step->key, sizeof(step->key), "%d.%s.%s", step->ordinal, step->name, step->subject);
	if (step->attempt > 1)
		snprintf(step->key + used, sizeof(step->key) - used, ":%d", step->attempt);
	post(run, step, action, params);
	return ACTION_WAIT;
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

/*
 * No usable answer. A GET finds out whether the job arrived: 404 means that it
 * did not, and then the step is begun anew.
 */
static ActionResult
no_answer(Run *run, Step *step)
{
	int64		now = now_us();

	snprintf(step->message, sizeof(step->message), "no answer from the agent: %s", call_problem(step->call));
	step_release(step);
	order_may_be_out(run, step);
	if (step->given_up)
		return step_fail(step, "57014", "given up: %s", pstrdup(step->message));
	if (step->unheard == 0)
		step->unheard = now;
	if (!run->ordered && step->on_failure != FAIL_RETRY && now - step->unheard > UNHEARD_US)
	{							/* whatever the step may do without: the run cannot do without the agent */
		step->on_failure = run->is_target ? FAIL_CONTINUE : FAIL_UNDO;
		return step_fail(step, "08006", "%s", pstrdup(step->message));
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
	snprintf(path, sizeof(path), "/v1/jobs/%s/%s?wait_ms=%d", run->key, step->key, LONG_POLL_MS);
	step->call = agents_get(step->url, path, LONG_POLL_MS + 3000);
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
	snprintf(path, sizeof(path), "/v1/jobs/%s/%s/cancel", run->key, step->key);
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
	const char *code = json_text(error, "code");
	const char *message = json_text(error, "message");
	const char *detail = json_text(error, "detail");

	step_fail(step, strlen(code) == 5 ? code : "58000", "%s%s%s", message[0] ? message : "the job failed",
			  detail[0] ? ": " : "", detail);
	strlcpy(step->verdict.message, message[0] ? message : "the job failed", sizeof(step->verdict.message));
	strlcpy(step->verdict.detail, detail, sizeof(step->verdict.detail));
	strlcpy(step->verdict.hint, json_text(error, "hint"), sizeof(step->verdict.hint));
	return ACTION_FAILED;
}

static ActionResult
judge(Run *run, Step *step)
{
	AgentCall  *call = step->call;
	const char *state = json_string_value(json_object_get(call->body, "state"));
	ActionResult result;

	step->unheard = 0;
	if (call->status == 404 && step->given_up)
		return step_fail(step, "57014", "given up before the agent had begun");
	if (call->status == 404)
	{							/* the job never arrived: begin anew, same key */
		step_release(step);
		return step->action->begin(run, step);
	}
	if (call->status == 401 || call->status == 409)
	{
		/* nothing that is tried again would change it: the one who is to be ordered follows somebody else */
		if (call->status == 409 && step->on_failure == FAIL_RETRY)
			step->on_failure = FAIL_CONTINUE;
		return step_fail(step, call->status == 401 ? "28000" : "55000", "the agent answers: %s", call_problem(call));
	}
	if (call->status != 200)
		return call->status >= 500 || call->status == 0 ? no_answer(run, step) :
			job_failed(step, json_object_get(call->body, "error"));
	if (state == NULL)
		return no_answer(run, step);
	if (strcmp(state, "running") == 0)
	{
		note_progress(step, call->body);
		step_release(step);
		ask_again(run, step);
		return ACTION_WAIT;
	}
	if (strcmp(state, "succeeded") == 0)
	{
		step->message[0] = '\0';
		step_keep(step, job_result(call->body));
		result = ACTION_DONE;
	}
	else
		result = job_failed(step, json_object_get(call->body, "error"));
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

static ActionResult
checkpoint_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->subject, "pg.checkpoint", json_new());
}

/* hook: a command that the agent's own configuration names; params {"name", "args"}. */
static ActionResult
hook_begin(Run *run, Step *step)
{
	json_error_t err;
	json_t	   *params = json_loads(step->params ? step->params : "{}", 0, &err);

	return job_begin(run, step, step->subject, "hook", params ? params : json_new());
}

static ActionResult
warm_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->subject, "pg.warm", json_new());
}

/* Slots on the new primary for all that will stream from it. */
static ActionResult
slots_begin(Run *run, Step *step)
{
	json_t	   *slots = json_array();

	for (int i = 0; i < run->nnodes; i++)
	{
		RunNode    *n = &run->nodes[i];

		if (strcmp(n->kind, "postgres") != 0 || strcmp(n->name, step->subject) == 0 || (run->moves && run_node_is_away(run, n)))
			continue;
		if (!run->moves && strcmp(n->name, run->target) != 0)
			continue;
		if (n->upstream[0] == '\0' || strcmp(n->upstream, step->subject) == 0 || strcmp(n->upstream, run->source) == 0)
			json_array_append_new(slots, json_string(n->slot));
	}
	return job_begin(run, step, step->subject, "slot.ensure", json_pack("{s:o}", "slots", slots));
}

static ActionResult
drop_slots_begin(Run *run, Step *step)
{
	json_t	   *detail = step_detail(step);
	json_t	   *created = json_incref(json_object_get(detail, "created"));

	json_decref(detail);
	if (json_array_size(created) == 0)
	{
		json_decref(created);
		return ACTION_DONE;
	}
	return job_begin(run, step, step->subject, "slot.drop", json_pack("{s:o}", "slots", created));
}

int
run_token_ttl_ms(Run *run)
{
	return run_option_int(run, "max_blackout_ms", 10000) + TTL_MS;
}

static ActionResult
arm_begin(Run *run, Step *step)
{
	char		sysid[32];

	snprintf(sysid, sizeof(sysid), UINT64_FORMAT, GetSystemIdentifier());
	return job_begin(run, step, step->subject, "token.arm",
					 json_pack("{s:i, s:s, s:i, s:b, s:s}", "ttl_ms", run_token_ttl_ms(run), "system_identifier", sysid,
							   "timeline", (int) GetWALInsertionTimeLine(), "prove", true, "version", PINGPONG_AGENT_VERSION));
}

/* Without a proof that the target's worker could go on there is no point in beginning. */
static ActionResult
arm_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);

	if (result != ACTION_DONE)
		return result;
	run->armed_us = now_us();
	if (!json_is_true(json_object_get(job_result(step->call->body), "woken")) ||
		!json_is_true(json_object_get(job_result(step->call->body), "proved")) ||
		json_text(job_result(step->call->body), "memory")[0] == '\0')
		return step_fail(step, "55000", "the agent's answer lacks the proof that its server could take the run over");
	return ACTION_DONE;
}

static ActionResult
burn_begin(Run *run, Step *step)
{
	return job_begin(run, step, step->subject, "token.burn", json_new());
}

static json_t *
route_params(RunRoute *route)
{
	json_error_t err;

	return json_pack("{s:s, s:o, s:s*}", "endpoint", route->endpoint, "databases", json_loads(route->databases, 0, &err),
					 "smoke", route->smoke);
}

static ActionResult
route_job(Run *run, Step *step, const char *action, json_t *more)
{
	RunRoute   *route = run_route(run, step->subject);
	json_t	   *params;

	if (route == NULL)
	{
		json_decref(more);
		return step_fail(step, "42704", "route \"%s\" does not exist", step->subject);
	}
	params = route_params(route);
	if (more)
		json_object_update(params, more);
	json_decref(more);
	return job_begin(run, step, route->router, action, params);
}

/* Whether the old primary is a standby of the new one for certain. */
static bool
source_is_back(Run *run)
{
	for (int i = 0; i < run->nsteps; i++)
		if (strcmp(run->steps[i].name, "rejoin") == 0 && run->steps[i].state == STEP_SUCCEEDED)
			return true;
	return false;
}

/*
 * Where the route will lead. RW routes to the new primary. RO routes to the standby that has come: after a move the old
 * primary; while that is not back, what would lead there leads to the new primary. A route to another standby stays.
 */
static RunNode *
route_place(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->subject);
	const char *standby = run->moves ? run->source : run->target;
	const char *primary = run->moves ? run->target : run->source;

	if (route == NULL || strcmp(route->kind, "ro") != 0)
		return run_node(run, primary);
	if (route->node[0] && strcmp(route->node, run->source) != 0 && strcmp(route->node, run->target) != 0)
		return run_node(run, route->node);
	return run_node(run, source_is_back(run) ? standby : primary);
}

/* A job that needs to know the place. */
static ActionResult
place_job(Run *run, Step *step, const char *action)
{
	RunNode    *to = route_place(run, step);

	if (to == NULL)
		return step_fail(step, "42704", "the node of route \"%s\" does not exist", step->subject);
	return route_job(run, step, action, json_pack("{s:s, s:i}", "host", to->host, "port", to->port));
}

static ActionResult
prepare_route_begin(Run *run, Step *step)
{
	return place_job(run, step, "pgbouncer.prepare");
}

/* A site's own statement through the route. */
static ActionResult
smoke_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->subject);

	if (route && route->smoke == NULL)
	{
		strlcpy(step->message, "the route has none", sizeof(step->message));
		return ACTION_DONE;
	}
	return route_job(run, step, "pgbouncer.smoke", NULL);
}

static ActionResult
prepare_route_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->subject);

	if (result == ACTION_DONE && route)
	{
		json_t	   *modes = json_object_get(job_result(step->call->body), "pool_mode");
		char	   *text = modes ? json_dumps(modes, JSON_COMPACT) : NULL;

		route->pool_modes = text ? pstrdup(text) : NULL;
		free(text);
	}
	return result;
}

/*
 * PAUSE is for the databases in transaction pooling. In session pooling it
 * cannot return while a client is there, and it is a trap: a client that logs
 * in between RELOAD and RESUME makes PgBouncer begin a login at the new
 * primary, which the pause then breaks off, and that counts as a failed login
 * (server_login_retry). There the gate does the holding. A database that has
 * pools of both kinds is paused: that spares the clients in transaction
 * pooling an error, and the others are not waited for.
 *
 * PAUSE returns when the transactions in flight are through. One that runs for
 * long already, a report say, is not waited for: it is left to the gate, which
 * stops it when it writes, and to the grace of readers. Nor is that of the
 * caller, who may be behind the pooler.
 *
 * The pooler ends the pause by itself should nobody else do it.
 */
static ActionResult
pause_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->subject);
	json_error_t err;
	json_t	   *databases;
	json_t	   *modes;
	json_t	   *mode;
	json_t	   *ignore;
	const char *name;

	if (route == NULL)
		return step_fail(step, "42704", "route \"%s\" does not exist", step->subject);
	databases = json_loads(route->databases, 0, &err);
	modes = route->pool_modes ? json_loads(route->pool_modes, 0, &err) : NULL;
	json_object_foreach(modes, name, mode)
		if (json_is_string(mode) && strcmp(json_string_value(mode), "session") == 0)
			json_object_del(databases, name);
	json_decref(modes);
	if (json_object_size(databases) == 0)
	{
		json_decref(databases);
		strlcpy(step->message, "session pooling: the gate holds", sizeof(step->message));
		return ACTION_DONE;
	}
	ignore = run_long_transactions(PAUSE_PATIENCE_MS);
	json_array_append_new(ignore, json_integer(worker_asker()));
	return route_job(run, step, "pgbouncer.pause",
					 json_pack("{s:i, s:i, s:o, s:o}", "resume_after_ms", run_option_int(run, "max_blackout_ms", 10000) + 10000,
							   "patience_ms", PAUSE_PATIENCE_MS, "ignore", ignore, "databases", databases));
}

static ActionResult
pause_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);

	if (result == ACTION_DONE && !json_is_true(json_object_get(job_result(step->call->body), "complete")))
		strlcpy(step->message, "long transactions were not waited for", sizeof(step->message));
	return result;
}

static ActionResult
release_begin(Run *run, Step *step)
{
	return route_job(run, step, "pgbouncer.release", NULL);
}

static ActionResult
repoint_begin(Run *run, Step *step)
{
	RunRoute   *route = run_route(run, step->subject);

	if (route && strcmp(route->kind, "ro") == 0 && route->node[0] == '\0' && !run->moves && !source_is_back(run))
	{
		strlcpy(step->message, "it leads to no node that is known; left as it is", sizeof(step->message));
		return ACTION_DONE;
	}
	return place_job(run, step, "pgbouncer.commit");
}

static ActionResult
repoint_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	RunRoute   *route = run_route(run, step->subject);
	RunNode    *to = route_place(run, step);

	if (result == ACTION_DONE && route && to)
		strlcpy(route->node, to->name, sizeof(route->node));
	return result;
}

static ActionResult
stream_from(Run *run, Step *step, const char *node, RunNode *upstream, const char *action, json_t *more)
{
	RunNode    *n = run_node(run, node);
	json_t	   *params;

	if (n == NULL || upstream == NULL)
	{
		json_decref(more);
		return step_fail(step, "42704", "node \"%s\" does not exist", n ? run->target : node);
	}
	params = json_pack("{s:s, s:i, s:s, s:s, s:i}", "host", upstream->host, "port", upstream->port, "slot", n->slot,
					   "name", n->name, "timeout_ms", step->timeout_ms);
	json_object_update(params, more);
	json_decref(more);
	return job_begin(run, step, node, action, params);
}

/*
 * What proves that a node's WAL past the fork holds nothing of clients: the seal of the run that left the timeline. A
 * rebuild takes that of the last run that made this server the primary.
 */
static json_t *
seal_params(Run *run)
{
	char		lsn[32];
	int			timeline = (int) json_integer_value(json_object_get(run->notes, "timeline"));
	XLogRecPtr	seal = run->seal_lsn;

	if (!run->moves)
		journal_last_seal(&timeline, &seal);
	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(seal));
	return json_pack("{s:s, s:i}", "seal_lsn", lsn, "seal_timeline", seal == InvalidXLogRecPtr ? 0 : timeline);
}

static ActionResult
follow_begin(Run *run, Step *step)
{
	json_t	   *more = seal_params(run);

	/* the second attempt of a standby that cannot follow is a rewind */
	if (step->attempt > 1)
		json_object_set_new(more, "method", json_string("auto"));
	return stream_from(run, step, step->subject, run_node(run, run->target), step->attempt > 1 ? "pg.rejoin" : "pg.follow", more);
}

static ActionResult
rejoin_begin(Run *run, Step *step)
{
	bool		rebuild = !run->moves;
	json_t	   *more = seal_params(run);

	json_object_set_new(more, "method", json_string(run_option_text(run, "method", "auto")));
	json_object_set_new(more, "readers_grace_ms", json_integer(run_option_int(run, "readers_grace_ms", 2000)));
	if (rebuild && run_option_text(run, "risk", "")[0])
		json_object_set_new(more, "risk", json_string(run_option_text(run, "risk", "")));
	return stream_from(run, step, step->subject, run_node(run, rebuild ? run->source : run->target), "pg.rejoin", more);
}

/* It was refused before the node was changed: the order was not taken, or no way was tried. */
static bool
refused_untouched(AgentCall *call)
{
	json_t	   *tried = json_object_get(job_result(call->body), "tried");

	if (call->status != 200)
		return true;
	return json_is_array(tried) ? json_array_size(tried) == 0 : job_result(call->body) == NULL;
}

/* For the report: by which way, and why not by a cheaper one. */
static ActionResult
rejoin_advance(Run *run, Step *step)
{
	ActionResult result = job_advance(run, step);
	json_t	   *done = step->call && step->call->body ? job_result(step->call->body) : NULL;
	json_t	   *why;
	size_t		i;

	if (result == ACTION_FAILED && step->call && step->call->body)
		step->untouched = refused_untouched(step->call);
	if (result != ACTION_DONE)
		return result;
	journal_set_away(step->subject, false);
	snprintf(step->message, sizeof(step->message), "by %s", json_text(done, "method"));
	json_array_foreach(json_object_get(done, "fallbacks"), i, why)
	{
		size_t		used = strlen(step->message);

		if (json_is_string(why))
			snprintf(step->message + used, sizeof(step->message) - used, "; not by %s", json_string_value(why));
	}
	return ACTION_DONE;
}

/*
 * Slots that nobody will use hold WAL for ever: on a standby those for nodes that stream from elsewhere, on the primary
 * those of nodes that are let go.
 */
static ActionResult
tidy_slots_begin(Run *run, Step *step)
{
	bool		on_primary = strcmp(step->subject, worker_self()) == 0;
	json_t	   *stale = json_array();

	for (int i = 0; i < run->nnodes; i++)
	{
		RunNode    *n = &run->nodes[i];

		if (n->slot[0] && strcmp(n->name, step->subject) != 0 && (!on_primary || run_node_is_away(run, n)))
			json_array_append_new(stale, json_string(n->slot));
	}
	return job_begin(run, step, step->subject, "slot.drop", json_pack("{s:o}", "slots", stale));
}

/* The old primary is let go: nobody waits for it any more, whether or not its agent can still stop it. */
static ActionResult
retire_begin(Run *run, Step *step)
{
	journal_set_away(step->subject, true);
	return job_begin(run, step, step->subject, "pg.retire",
					 json_pack("{s:i}", "readers_grace_ms", run_option_int(run, "readers_grace_ms", 2000)));
}

/* What was done while writes were stopped, in ms behind the beginning of that; for the one who cannot know it. */
json_t *
blackout_steps(Run *run)
{
	json_t	   *steps = json_array();

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *s = &run->steps[i];
		instr_time	offset = s->clock;

		if (s->state != STEP_SUCCEEDED || !s->action->in_blackout || !s->mine)
			continue;
		INSTR_TIME_SUBTRACT(offset, run->blackout_began);
		json_array_append_new(steps, json_pack("{s:i, s:s, s:s, s:f, s:f, s:s}", "ordinal", s->ordinal, "action", s->name,
											   "node", s->subject, "offset_ms", INSTR_TIME_GET_MILLISEC(offset),
											   "ms", s->ms, "message", s->message));
	}
	return steps;
}

static ActionResult
promote_begin(Run *run, Step *step)
{
	ActionResult result;
	char		lsn[32];
	json_t	   *timeline = json_pack("{s:f, s:o}", "elapsed_ms", run_blackout_so_far(run), "steps", blackout_steps(run));

	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(run->seal_lsn));
	json_object_set_new(timeline, "seal_lsn", json_string(lsn));
	run->ordered = true;
	result = job_begin(run, step, step->subject, "pg.promote",
					   json_pack("{s:s, s:i, s:o}", "seal_lsn", lsn, "timeout_ms", run_option_int(run, "max_blackout_ms", 10000),
							   "timeline", timeline));
	agents_advance();			/* at once */
	return result;
}

const Action actions_of_agents[] = {
	{"checkpoint", checkpoint_begin, job_advance, false},
	{"hook", hook_begin, job_advance, false},
	{"warm", warm_begin, job_advance, false},
	{"slots", slots_begin, job_advance, false},
	{"drop_slots", drop_slots_begin, job_advance, false},
	{"arm", arm_begin, arm_advance, false},
	{"burn", burn_begin, job_advance, false},
	{"prepare_route", prepare_route_begin, prepare_route_advance, false},
	{"smoke", smoke_begin, job_advance, false},
	{"pause", pause_begin, pause_advance, true},
	{"release", release_begin, job_advance, true},
	{"repoint", repoint_begin, repoint_advance, true},
	{"promote", promote_begin, job_advance, true},
	{"follow", follow_begin, rejoin_advance, false},
	{"rejoin", rejoin_begin, rejoin_advance, false},
	{"retire", retire_begin, job_advance, false},
	{"tidy_slots", tidy_slots_begin, job_advance, false},
	{NULL}
};
