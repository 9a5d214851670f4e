/*
 * jobs.c
 *		The executor: a thread a job, idempotent by (run, step), durable, resumable.
 *
 * A job is journaled when it begins, after each of its actions but the last, and when
 * it ends.  Normally the record is on disk before the answer is given.  Jobs made of
 * ACTION_LAZY_JOURNAL actions stand in the blackout: their answer goes first and their
 * records are not fsynced, since the truth about them is elsewhere (the token file, the
 * server, PgBouncer) and doing them again finds it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/epoch.h"
#include "agent/jobs.h"
#include "agent/jobview.h"

static pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t jobs_idle = PTHREAD_COND_INITIALIZER;
static Job *jobs;				/* newest first */
static int	jobs_running;
static bool shutting_down;

static void *job_main(void *argument);

static void
set_text(char **field, const char *format, va_list args)
{
	free(*field);
	if (vasprintf(field, format, args) < 0)
		*field = NULL;
}

/* ---- what actions call ---- */

int
action_fail(ActionContext *ctx, const char *sqlstate, const char *format,...)
{
	JobError   *error = &ctx->job->error;
	va_list		args;

	pthread_mutex_lock(&jobs_lock);
	if (!error->message)
	{
		snprintf(error->code, sizeof(error->code), "%s", sqlstate);
		va_start(args, format);
		set_text(&error->message, format, args);
		va_end(args);
	}
	pthread_mutex_unlock(&jobs_lock);
	return -1;
}

void
action_detail(ActionContext *ctx, const char *format,...)
{
	va_list		args;

	pthread_mutex_lock(&jobs_lock);
	va_start(args, format);
	set_text(&ctx->job->error.detail, format, args);
	va_end(args);
	pthread_mutex_unlock(&jobs_lock);
}

void
action_detail_more(ActionContext *ctx, const char *format,...)
{
	JobError   *error = &ctx->job->error;
	char	   *more = NULL;
	char	   *before;
	va_list		args;

	pthread_mutex_lock(&jobs_lock);
	before = error->detail;
	va_start(args, format);
	set_text(&more, format, args);
	va_end(args);
	error->detail = xasprintf("%s%s%s", before ? before : "", before ? " " : "", more ? more : "");
	free(before);
	free(more);
	pthread_mutex_unlock(&jobs_lock);
}

void
action_hint(ActionContext *ctx, const char *format,...)
{
	va_list		args;

	pthread_mutex_lock(&jobs_lock);
	va_start(args, format);
	set_text(&ctx->job->error.hint, format, args);
	va_end(args);
	pthread_mutex_unlock(&jobs_lock);
}

static void
clear_error(Job *job)
{
	free(job->error.message);
	free(job->error.detail);
	free(job->error.hint);
	memset(&job->error, 0, sizeof(job->error));
}

void
action_forget_error(ActionContext *ctx)
{
	pthread_mutex_lock(&jobs_lock);
	clear_error(ctx->job);
	pthread_mutex_unlock(&jobs_lock);
}

/* Only the job's own thread writes the error, so it may read it without the lock. */
const char *
action_error_message(ActionContext *ctx)
{
	return ctx->job->error.message ? ctx->job->error.message : "";
}

void
action_progress(ActionContext *ctx, double percent, const char *format,...)
{
	va_list		args;

	pthread_mutex_lock(&jobs_lock);
	va_start(args, format);
	set_text(&ctx->job->progress, format, args);
	va_end(args);
	ctx->job->percent = percent;
	pthread_mutex_unlock(&jobs_lock);
}

void
action_output(ActionContext *ctx, const char *data, size_t size)
{
	pthread_mutex_lock(&jobs_lock);
	jobview_output_add(ctx->job, data, size);
	pthread_mutex_unlock(&jobs_lock);
}

bool
action_cancelled(ActionContext *ctx)
{
	bool		cancel;

	pthread_mutex_lock(&jobs_lock);
	cancel = ctx->job->cancel;
	pthread_mutex_unlock(&jobs_lock);
	return cancel;
}

void
action_afterwards(ActionContext *ctx, void (*function) (ActionContext *ctx, json_t *params), json_t *params)
{
	if (ctx->afterwards)		/* of an earlier action of the same job */
		ctx->afterwards(ctx, ctx->afterwards_params);
	ctx->afterwards = function;
	ctx->afterwards_params = params;
}

/*
 * What a lazy job owes after its answer, and any other before. -1 with errno: the epoch that this job proved is not
 * kept.
 */
static int
settle(ActionContext *ctx)
{
	int			rc = epoch_keep(ctx->config);	/* also one that an earlier job owes still */
	int			reason = errno;

	if (ctx->afterwards)
		ctx->afterwards(ctx, ctx->afterwards_params);
	errno = reason;
	return ctx->epoch_proved ? rc : 0;
}

const char *
param_string(json_t *params, const char *name, const char *otherwise)
{
	const char *value = json_string_value(json_object_get(params, name));

	return value ? value : otherwise;
}

int64_t
param_int(json_t *params, const char *name, int64_t otherwise)
{
	json_t	   *value = json_object_get(params, name);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

bool
param_bool(json_t *params, const char *name, bool otherwise)
{
	json_t	   *value = json_object_get(params, name);

	return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

/* ---- the table of jobs; the lock is held ---- */

static Job *
find_job(const char *run, const char *step)
{
	for (Job *job = jobs; job; job = job->next)
		if (strcmp(job->run, run) == 0 && strcmp(job->step, step) == 0)
			return job;
	return NULL;
}

static void
free_job(Job *job)
{
	clear_error(job);
	json_decref(job->actions);
	json_decref(job->results);
	free(job->progress);
	free(job->output);
	pthread_cond_destroy(&job->changed);
	free(job);
}

static Job *
new_job(const char *run, const char *step)
{
	Job		   *job = xalloc(sizeof(Job));
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&job->changed, &attr);
	pthread_condattr_destroy(&attr);
	snprintf(job->run, sizeof(job->run), "%s", run);
	snprintf(job->step, sizeof(job->step), "%s", step);
	job->percent = -1;
	job->results = json_array();
	return job;
}

static void
insert_job(Job *job)
{
	Job		  **place = &jobs;

	while (*place && (*place)->received_ms > job->received_ms)
		place = &(*place)->next;
	job->next = *place;
	*place = job;
}

static bool
run_is_busy(const char *run)
{
	for (Job *job = jobs; job; job = job->next)
		if (strcmp(job->run, run) == 0 && (job->state == JOB_RUNNING || job->waiters > 0))
			return true;
	return false;
}

static void
forget_run(const char *run)
{
	Job		  **place = &jobs;

	while (*place)
	{
		Job		   *job = *place;

		if (strcmp(job->run, run) != 0)
		{
			place = &job->next;
			continue;
		}
		*place = job->next;
		free_job(job);
	}
}

/*
 * Keeps the runs whose newest job is among the newest; a busy run stays in any case.
 * Forgets one of the others and gives its name; false: none.
 */
static bool
prune_one(char *run)
{
	const char *seen[JOB_RUNS_KEPT];
	int			n = 0;

	for (Job *job = jobs; job; job = job->next)
	{
		bool		known = false;

		for (int i = 0; i < n && !known; i++)
			known = strcmp(seen[i], job->run) == 0;
		if (known)
			continue;
		if (n < JOB_RUNS_KEPT)
		{
			seen[n++] = job->run;
			continue;
		}
		if (run_is_busy(job->run))
			continue;
		memcpy(run, job->run, sizeof(job->run));
		forget_run(run);
		return true;
	}
	return false;
}

/* Questions that are asked again and again, each under a key of its own; 0: not one of them. */
static int
question_kind(const Job *job)
{
	if (strcmp(job->run, "facts") == 0 ||
		(json_array_size(job->actions) == 1 &&
		 strcmp(param_string(json_array_get(job->actions, 0), "action", ""), ACTION_FACTS) == 0))
		return 1;
	if (strncmp(job->step, "verdict:", 8) == 0)
		return 2;
	return strncmp(job->step, "baton:", 6) == 0 ? 3 : 0;
}

/*
 * They come under runs that stay among the newest ones, and nobody comes back to an old
 * question: forgets one of them and gives its name; false: none.
 */
static bool
prune_question(char *run, char *step)
{
	int			seen[4] = {0};

	for (Job **place = &jobs; *place; place = &(*place)->next)
	{
		Job		   *job = *place;
		int			kind = question_kind(job);

		if (kind == 0 || job->state == JOB_RUNNING || job->waiters > 0 || ++seen[kind] <= JOB_QUESTIONS_KEPT)
			continue;
		memcpy(run, job->run, sizeof(job->run));
		memcpy(step, job->step, sizeof(job->step));
		*place = job->next;
		free_job(job);
		return true;
	}
	return false;
}

/* The files go under the lock: a key that is asked again at once has the same one. */
static void
prune_questions(const AgentConfig *config)
{
	char		run[PINGPONG_KEY_MAX + 1];
	char		step[PINGPONG_KEY_MAX + 1];

	pthread_mutex_lock(&jobs_lock);
	while (prune_question(run, step))
		journal_remove_job(config->state_dir, run, step);
	pthread_mutex_unlock(&jobs_lock);
}

/* ---- executing ---- */

/* The flags that all of them have. */
static int
flags_of(json_t *actions)
{
	int			all = ~0;
	size_t		i;
	json_t	   *action;

	json_array_foreach(actions, i, action)
	{
		const ActionEntry *entry = action_find(param_string(action, "action", ""));

		all &= entry ? entry->flags : 0;
	}
	return all;
}

/* `state`: the one that it will be seen in when this is on disk. */
static int
journal_job(Job *job, const AgentConfig *config, JobState state, bool durable)
{
	json_t	   *record;
	int			rc;

	pthread_mutex_lock(&jobs_lock);
	record = jobview_record(job);
	if (state != job->state)
	{
		json_object_set_new(record, "state", json_string(jobview_state(state)));
		json_object_set_new(record, "elapsed_ms", json_real(clock_monotonic_ms() - job->started_ms));
	}
	pthread_mutex_unlock(&jobs_lock);
	rc = journal_write(config->state_dir, job->run, job->step, record, durable);
	json_decref(record);
	return rc;
}

static int
run_action(ActionContext *ctx, json_t *action)
{
	const ActionEntry *entry = action_find(param_string(action, "action", ""));
	json_t	   *params = json_object_get(action, "params");
	json_t	   *result = json_object();
	int			rc;

	if (!entry)
		rc = action_fail(ctx, STATE_INVALID_PARAMETER, "unknown action");
	else if ((entry->flags & ACTION_NEEDS_PG) && !ctx->config->pg.present)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this agent has no PostgreSQL");
	else
		rc = entry->function(ctx, params, result);
	if (rc == 0)
		action_forget_error(ctx);	/* of a way that was left for another one */
	if (rc == 0 && (entry->flags & ACTION_RAISES_EPOCH))
	{
		epoch_raise(ctx->epoch);
		ctx->epoch_proved = true;
	}
	/* a failed action may have a result too: the verdict on a promotion */
	pthread_mutex_lock(&jobs_lock);
	if (rc == 0 || json_object_size(result) > 0)
		json_array_append(ctx->job->results, result);
	pthread_mutex_unlock(&jobs_lock);
	json_decref(result);
	return rc;
}

static JobState
run_actions(Job *job, ActionContext *ctx, bool lazy)
{
	size_t		n = json_array_size(job->actions);

	for (size_t i = json_array_size(job->results); i < n; i++)
	{
		if (action_cancelled(ctx))
		{
			action_fail(ctx, STATE_CANCELED, "the job was cancelled");
			return JOB_CANCELLED;
		}
		if (run_action(ctx, json_array_get(job->actions, i)) < 0)
			return action_cancelled(ctx) ? JOB_CANCELLED : JOB_FAILED;
		ctx->resumed = false;
		if (i + 1 < n)
			journal_job(job, ctx->config, JOB_RUNNING, !lazy);
	}
	return JOB_SUCCEEDED;
}

/*
 * Only what the next life of this agent will know has succeeded: it would take orders of older epochs again, or do
 * the job again, behind the back of who was told that it is done.
 */
static JobState
settle_before(Job *job, ActionContext *ctx, JobState state)
{
	if (settle(ctx) < 0 && state == JOB_SUCCEEDED)
	{
		action_fail(ctx, STATE_IO_ERROR, "the job was done, but its epoch could not be written: %s", strerror(errno));
		state = JOB_FAILED;
	}
	if (journal_job(job, ctx->config, state, true) == 0 || state != JOB_SUCCEEDED)
		return state;
	action_fail(ctx, STATE_IO_ERROR, "the job was done, but its end could not be written: %s", strerror(errno));
	return JOB_FAILED;
}

/* The state becomes visible to waiters at once (lazy), or when the record is on disk. */
static void
end_job(Job *job, ActionContext *ctx, JobState state, bool lazy)
{
	const AgentConfig *config = ctx->config;
	char		pruned[PINGPONG_KEY_MAX + 1];
	bool		prune;

	if (!lazy)
		state = settle_before(job, ctx, state);
	pthread_mutex_lock(&jobs_lock);
	job->elapsed_ms = clock_monotonic_ms() - job->started_ms;
	job->state = state;
	job->waiters++;				/* pruning must not free it under us */
	pthread_cond_broadcast(&job->changed);
	pthread_mutex_unlock(&jobs_lock);
	if (lazy)
	{
		settle(ctx);
		journal_job(job, config, state, false);
	}
	log_info("job %s/%s %s in %.1f ms%s%s", job->run, job->step, jobview_state(state), job->elapsed_ms,
			 job->error.message ? ": " : "", job->error.message ? job->error.message : "");
	pthread_mutex_lock(&jobs_lock);
	job->waiters--;
	prune = prune_one(pruned);
	pthread_mutex_unlock(&jobs_lock);
	prune_questions(config);
	if (prune)
		journal_remove_run(config->state_dir, pruned);
	pthread_mutex_lock(&jobs_lock);
	if (--jobs_running == 0)
		pthread_cond_broadcast(&jobs_idle);
	pthread_mutex_unlock(&jobs_lock);
}

static void *
job_main(void *argument)
{
	Job		   *job = argument;
	AgentConfig *config = config_current();
	ActionContext ctx = {.job = job, .config = config, .run = job->run, .step = job->step,
	.epoch = job->epoch, .age_ms = clock_realtime_ms() - job->received_ms, .resumed = job->resumed};
	bool		lazy = (flags_of(job->actions) & ACTION_LAZY_JOURNAL) != 0;
	JobState	state = JOB_FAILED;

	/* the truth about a lazy job is elsewhere, and it is most wanted when the disk is full */
	if (journal_job(job, config, JOB_RUNNING, !lazy) < 0 && !lazy)
		action_fail(&ctx, STATE_IO_ERROR, "could not write the job journal: %s", strerror(errno));
	else
		state = run_actions(job, &ctx, lazy);
	end_job(job, &ctx, state, lazy);
	config_release(config);
	return NULL;
}

/* The lock is held. */
static void
start_thread(Job *job)
{
	pthread_attr_t attr;
	pthread_t	thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	job->started_ms = clock_monotonic_ms();
	jobs_running++;
	if (pthread_create(&thread, &attr, job_main, job) != 0)
	{
		log_error("could not start a thread");
		abort();				/* the journal knows the job; a restart resumes it */
	}
	pthread_attr_destroy(&attr);
}

/* ---- what the HTTP front calls ---- */

static bool
actions_valid(json_t *actions, char *error, size_t error_size)
{
	size_t		i;
	json_t	   *action;

	if (!json_is_array(actions) || json_array_size(actions) == 0 || json_array_size(actions) > JOB_ACTIONS_MAX)
	{
		snprintf(error, error_size, "\"actions\" must be a list of 1 to %d actions", JOB_ACTIONS_MAX);
		return false;
	}
	json_array_foreach(actions, i, action)
	{
		const char *name = param_string(action, "action", NULL);
		json_t	   *params = json_object_get(action, "params");

		if (!name || !action_find(name))
			snprintf(error, error_size, "action %zu is not known to this agent", i + 1);
		else if (params && !json_is_object(params) && !json_is_null(params))
			snprintf(error, error_size, "\"params\" of action %zu is not an object", i + 1);
		else
			continue;
		return false;
	}
	return true;
}

static bool
request_valid(json_t *request, char *error, size_t error_size)
{
	json_t	   *epoch = json_object_get(request, "epoch");

	if (!json_is_object(request))
		snprintf(error, error_size, "the request is not a JSON object");
	else if (!pingpong_key_valid(param_string(request, "run", NULL)) ||
			 !pingpong_key_valid(param_string(request, "step", NULL)))
		snprintf(error, error_size, "\"run\" and \"step\" must be 1 to %d characters of [A-Za-z0-9._#:-], "
				 "no leading dot", PINGPONG_KEY_MAX);
	else if (!json_is_integer(epoch) || json_integer_value(epoch) < 0)
		snprintf(error, error_size, "\"epoch\" must be a number");
	else
		return actions_valid(json_object_get(request, "actions"), error, error_size);
	return false;
}

/* Waits until the job ends; the lock is held. */
static void
wait_for_end(Job *job, int64_t wait_ms)
{
	struct timespec until;

	if (wait_ms <= 0)
		return;
	if (wait_ms > PINGPONG_WAIT_MAX_MS)
		wait_ms = PINGPONG_WAIT_MAX_MS;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += wait_ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	job->waiters++;
	while (job->state == JOB_RUNNING && !shutting_down)
		if (pthread_cond_timedwait(&job->changed, &jobs_lock, &until) == ETIMEDOUT)
			break;
	job->waiters--;
}

static Job *
create_job(json_t *request)
{
	Job		   *job = new_job(param_string(request, "run", ""), param_string(request, "step", ""));

	job->epoch = param_int(request, "epoch", 0);
	job->received_ms = clock_realtime_ms();
	job->actions = json_deep_copy(json_object_get(request, "actions"));
	insert_job(job);
	start_thread(job);
	return job;
}

JobAnswer
jobs_post(json_t *request, json_t **answer, char *error, size_t error_size)
{
	JobAnswer	rc = JOB_OK;
	Job		   *job;

	if (!request_valid(request, error, error_size))
		return JOB_BAD_REQUEST;
	pthread_mutex_lock(&jobs_lock);
	job = find_job(param_string(request, "run", ""), param_string(request, "step", ""));
	if (!job && shutting_down)
		rc = JOB_SHUTDOWN;
	else if (!job && param_int(request, "epoch", 0) < epoch_current() &&
			 !(flags_of(json_object_get(request, "actions")) & ACTION_ANY_EPOCH))
		rc = JOB_OLD_EPOCH;
	else
	{
		if (!job)
			job = create_job(request);
		wait_for_end(job, param_int(request, "wait_ms", 0));
		*answer = jobview_json(job, true);
	}
	pthread_mutex_unlock(&jobs_lock);
	return rc;
}

JobAnswer
jobs_get(const char *run, const char *step, int64_t wait_ms, json_t **answer)
{
	Job		   *job;

	pthread_mutex_lock(&jobs_lock);
	job = find_job(run, step);
	if (job)
	{
		wait_for_end(job, wait_ms);
		*answer = jobview_json(job, true);
	}
	pthread_mutex_unlock(&jobs_lock);
	return job ? JOB_OK : JOB_UNKNOWN;
}

JobAnswer
jobs_cancel(const char *run, const char *step, json_t **answer)
{
	Job		   *job;

	pthread_mutex_lock(&jobs_lock);
	job = find_job(run, step);
	if (job)
	{
		if (job->state == JOB_RUNNING)
			job->cancel = true;
		*answer = jobview_json(job, true);
	}
	pthread_mutex_unlock(&jobs_lock);
	return job ? JOB_OK : JOB_UNKNOWN;
}

json_t *
jobs_list(void)
{
	json_t	   *list = json_array();

	pthread_mutex_lock(&jobs_lock);
	for (Job *job = jobs; job; job = job->next)
		json_array_append_new(list, jobview_json(job, false));
	pthread_mutex_unlock(&jobs_lock);
	return list;
}

/* ---- start and stop ---- */

static void
restore(json_t *record)
{
	Job		   *job;
	const char *run = param_string(record, "run", NULL);
	const char *step = param_string(record, "step", NULL);

	if (!pingpong_key_valid(run) || !pingpong_key_valid(step) || !json_is_array(json_object_get(record, "actions")))
		return;
	job = new_job(run, step);
	jobview_restore(job, record);
	insert_job(job);
}

/* The lock is held. */
static void
resume_or_fail(Job *job, const AgentConfig *config)
{
	json_t	   *record;

	if (flags_of(job->actions) & ACTION_RESUMABLE)
	{
		log_info("job %s/%s is resumed", job->run, job->step);
		job->resumed = true;
		start_thread(job);
		return;
	}
	job->state = JOB_FAILED;
	clear_error(job);
	snprintf(job->error.code, sizeof(job->error.code), "%s", STATE_SYSTEM_ERROR);
	job->error.message = xstrdup("agent was restarted");
	record = jobview_record(job);
	journal_write(config->state_dir, job->run, job->step, record, true);
	json_decref(record);
}

int
jobs_start(int64_t proved_epoch, char *error, size_t error_size)
{
	AgentConfig *config = config_current();
	int			rc = epoch_start(config, proved_epoch, error, error_size);

	pthread_mutex_lock(&jobs_lock);
	if (rc == 0)
		journal_read_all(config->state_dir, restore);
	for (Job *job = jobs; job; job = job->next)
		if (job->state == JOB_RUNNING)
			resume_or_fail(job, config);
	pthread_mutex_unlock(&jobs_lock);
	config_release(config);
	return rc;
}

void
jobs_shutdown(int limit_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += limit_ms / 1000;
	until.tv_nsec += limit_ms % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000)
	{
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&jobs_lock);
	shutting_down = true;
	for (Job *job = jobs; job; job = job->next)
		pthread_cond_broadcast(&job->changed);
	while (jobs_running > 0)
		if (pthread_cond_timedwait(&jobs_idle, &jobs_lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&jobs_lock);
}
