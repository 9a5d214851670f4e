/*
 * executor.c
 *		The executor: a thread for each job, idempotent by (run, step), durable, resumable.
 *
 * A job is journaled when it begins, after each of its actions except the last, and when it ends. Normally the record
 * is on disk before the answer is given. Jobs of ACTION_LAZY_JOURNAL actions are part of the blackout: their answer
 * is sent first, and their records are not fsynced. The truth about them is elsewhere (the token file, the server,
 * PgBouncer), and to do them again finds it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/tally.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/job/action.h"
#include "agent/job/epoch.h"
#include "agent/job/executor.h"
#include "agent/job/instance.h"
#include "agent/job/journal.h"
#include "agent/job/known.h"
#include "agent/job/params.h"
#include "agent/job/prune.h"
#include "agent/job/table.h"
#include "agent/job/undone.h"
#include "agent/job/view.h"
#include "common/names.h"
#include "common/sqlstate.h"

static pthread_cond_t jobs_idle = PTHREAD_COND_INITIALIZER;
static int	jobs_running;
bool		jobs_shutting_down;

/*
 * What a lazy job owes after its answer, and any other before. -1 with errno: the epoch that this job proved is not
 * kept.
 */
static int
settle(ActionContext *ctx)
{
	int			rc = epoch_keep(ctx->config);	/* also one that an earlier job owes still */
	int			reason = errno;

	action_do_afterwards(ctx);
	errno = reason;
	return ctx->epoch_proved ? rc : 0;
}

static bool
is_unrecorded(const Job *job)
{
	return (action_flags_of(job->actions) & ACTION_UNRECORDED) != 0;
}

/* `state`: the one that it will be seen in when this is on disk. */
static int
journal_job(Job *job, const AgentConfig *config, JobState state, bool durable)
{
	json_t	   *record;
	int			rc;

	if (is_unrecorded(job))
		return 0;
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

/* ---- one action ---- */

static int
call(ActionContext *ctx, const char *name, json_t *params, json_t *result)
{
	const ActionEntry *entry = action_find(name);
	int			rc;

	if (!entry)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "unknown action");
	if (instance_choose(ctx, entry->flags, params) < 0)
		return -1;
	rc = entry->function(ctx, params, result);
	if (rc == 0)
		action_forget_error(ctx);	/* of a way that was left for another one */
	if (rc == 0 && instance_raises_epoch(ctx, entry->flags))
	{
		epoch_raise(ctx->epoch);
		ctx->epoch_proved = true;
	}
	return rc;
}

/* What the action before said of itself is not true of the next one. The lock is held. */
static void
forget_progress(Job *job)
{
	free(job->progress);
	job->progress = NULL;
	job->percent = -1;
}

static void
set_part(JobPart *part, PartState state)
{
	pthread_mutex_lock(&jobs_lock);
	part->state = state;
	pthread_mutex_unlock(&jobs_lock);
}

static int
run_part(ActionContext *ctx, size_t i)
{
	JobPart    *part = &ctx->job->parts[i];
	json_t	   *action = json_array_get(ctx->job->actions, i);
	json_t	   *result = json_object();
	double		began = clock_monotonic_ms();
	int			rc;

	pthread_mutex_lock(&jobs_lock);
	forget_progress(ctx->job);
	part->state = PART_RUNNING;
	if (part->began_ms == 0)
		part->began_ms = clock_realtime_ms();
	pthread_mutex_unlock(&jobs_lock);
	ctx->part = part;
	ctx->error = &part->error;
	rc = call(ctx, param_string(action, "action", ""), json_object_get(action, "params"), result);
	ctx->error = &ctx->job->error;
	/* a failed action may have a result too: the verdict on a promotion */
	pthread_mutex_lock(&jobs_lock);
	part->took_ms = clock_monotonic_ms() - began;
	part->state = rc == 0 ? PART_SUCCEEDED : PART_FAILED;
	if (rc == 0 || json_object_size(result) > 0)
	{
		json_decref(part->result);	/* what was kept on the way */
		part->result = json_incref(result);
	}
	if (rc < 0)
		job_copy_error(&ctx->job->error, &part->error);
	pthread_mutex_unlock(&jobs_lock);
	json_decref(result);
	return rc;
}

/* ---- undoing ---- */

static bool
is_nothing(json_t *value)
{
	return !value || json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0) ||
		(json_is_string(value) && json_string_length(value) == 0);
}

/* The parameters of an undo, with what it takes from the result of the action. NULL: there is nothing to undo. */
static json_t *
undo_params(json_t *undo, json_t *result)
{
	json_t	   *given = json_object_get(undo, "params");
	json_t	   *params = given ? json_deep_copy(given) : json_object();
	const char *name;
	json_t	   *field;

	json_object_foreach(json_object_get(undo, "take"), name, field)
	{
		json_t	   *value = json_object_get(result, json_is_string(field) ? json_string_value(field) : "");

		if (is_nothing(value))
		{
			json_decref(params);
			return NULL;
		}
		json_object_set(params, name, value);
	}
	return params;
}

/* What was cancelled is undone all the same: the undo must not see that it was. */
static void
undo_part(ActionContext *ctx, size_t i)
{
	JobPart    *part = &ctx->job->parts[i];
	json_t	   *action = json_array_get(ctx->job->actions, i);
	json_t	   *undo = json_object_get(action, "undo");
	json_t	   *params = undo_params(undo, part->result);
	json_t	   *result = json_object();
	int			rc = 0;

	action_progress(ctx, -1, "undoing %s", param_string(action, "action", ""));
	ctx->part = part;
	ctx->error = &part->undo_error;
	instance_inherit(params, json_object_get(action, "params"));
	if (params)
		rc = call(ctx, param_string(undo, "action", ""), params, result);
	ctx->error = &ctx->job->error;
	set_part(part, rc == 0 ? PART_UNDONE : PART_NOT_UNDONE);
	json_decref(params);
	json_decref(result);
}

/*
 * That it goes back. The next life of this agent must not go forward again: rather than with the record of before it
 * begins without one.
 */
static void
journal_back(Job *job, const AgentConfig *config, JobState state, bool durable)
{
	if (journal_job(job, config, state, durable) < 0)
		journal_remove_job(config->state_dir, job->run, job->step);
}

/* Backwards, each once; one that fails does not keep the others from being undone. */
static void
undo_parts(Job *job, ActionContext *ctx, bool lazy)
{
	ctx->undoing = true;
	for (size_t i = job->nparts; i-- > 0;)
	{
		PartState	state = job->parts[i].state;

		if (!json_object_get(json_array_get(job->actions, i), "undo") ||
			(state != PART_SUCCEEDED && state != PART_FAILED))
			continue;
		undo_part(ctx, i);
		journal_back(job, ctx->config, JOB_RUNNING, !lazy);
	}
}

/* ---- all of them ---- */

static JobState
run_forward(Job *job, ActionContext *ctx, bool lazy)
{
	for (size_t i = 0; i < job->nparts; i++)
	{
		if (job->parts[i].state == PART_SUCCEEDED)
			continue;			/* in an earlier life of this agent */
		if (action_cancelled(ctx))
		{
			if (job->parts[i].state == PART_RUNNING)	/* in an earlier life, which may have done some of it */
				set_part(&job->parts[i], PART_FAILED);
			action_fail(ctx, STATE_CANCELED, "the job was cancelled");
			return JOB_CANCELLED;
		}
		if (run_part(ctx, i) < 0)
			return action_cancelled(ctx) ? JOB_CANCELLED : JOB_FAILED;
		ctx->resumed = false;
		if (i + 1 < job->nparts)
			journal_job(job, ctx->config, JOB_RUNNING, !lazy);
	}
	return JOB_SUCCEEDED;
}

static bool
has_undo(const Job *job)
{
	json_t	   *action;
	size_t		i;

	json_array_foreach(job->actions, i, action)
		if (json_object_get(action, "undo"))
			return true;
	return false;
}

/* That it goes back is on disk before it does. */
static void
go_back(Job *job, ActionContext *ctx, bool lazy)
{
	journal_back(job, ctx->config, JOB_RUNNING, !lazy);
	undo_parts(job, ctx, lazy);
}

static JobState
run_actions(Job *job, ActionContext *ctx, bool lazy)
{
	JobState	state;

	if (job_failed_part(job))	/* an earlier life of this agent was going back */
		state = action_cancelled(ctx) ? JOB_CANCELLED : JOB_FAILED;
	else
		state = run_forward(job, ctx, lazy);
	if (state != JOB_SUCCEEDED && has_undo(job))
		go_back(job, ctx, lazy);
	return state;
}

/*
 * Only what the next life of this agent will know has succeeded: it would take orders of older epochs again, or do
 * the job again, although its caller was told that it is done.
 */
static JobState
settle_before(Job *job, ActionContext *ctx, JobState state)
{
	bool		kept = settle(ctx) == 0;

	if (state == JOB_SUCCEEDED && !kept)
		action_fail(ctx, STATE_IO_ERROR, "the job was done, but its epoch could not be written: %s", strerror(errno));
	else if (state == JOB_SUCCEEDED && journal_job(job, ctx->config, state, true) < 0)
		action_fail(ctx, STATE_IO_ERROR, "the job was done, but its end could not be written: %s", strerror(errno));
	else if (state == JOB_SUCCEEDED)
		return state;
	if (state == JOB_SUCCEEDED && has_undo(job))
		go_back(job, ctx, false);
	state = state == JOB_SUCCEEDED ? JOB_FAILED : state;
	if (has_undo(job))
		journal_back(job, ctx->config, state, true);
	else
		journal_job(job, ctx->config, state, true);
	return state;
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
	if (has_undo(job))
		journal_release(config->state_dir, job->run, job->step);
	if (!is_unrecorded(job))
		tally_add(state == JOB_SUCCEEDED ? TALLY_JOB_SUCCEEDED : TALLY_JOB_FAILED);
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
	if (!is_unrecorded(job))
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

static int
begin_journal(Job *job, const AgentConfig *config, bool lazy)
{
	if (has_undo(job) && !lazy && journal_reserve(config->state_dir, job->run, job->step) < 0 && !job->resumed)
		return -1;
	return journal_job(job, config, JOB_RUNNING, !lazy);
}

static void *
job_main(void *argument)
{
	Job		   *job = argument;
	AgentConfig *config = config_current();
	ActionContext ctx = {.job = job, .config = config, .run = job->run, .step = job->step,
	.epoch = job->epoch, .age_ms = clock_realtime_ms() - job->received_ms, .resumed = job->resumed};
	bool		lazy = (action_flags_of(job->actions) & ACTION_LAZY_JOURNAL) != 0;
	JobState	state = JOB_FAILED;

	ctx.error = &job->error;
	undone_await(job, config);
	/*
	 * The truth about a lazy job is elsewhere, and it is most wanted when the disk is full. A resumed one has a
	 * record, and what it has begun must be undone.
	 */
	if (begin_journal(job, config, lazy) < 0 && !lazy && !job->resumed)
		action_fail(&ctx, STATE_IO_ERROR, "could not write the job journal: %s", strerror(errno));
	else
		state = run_actions(job, &ctx, lazy);
	end_job(job, &ctx, state, lazy);
	config_release(config);
	return NULL;
}

/* The lock is held. */
void
job_begin(Job *job)
{
	pthread_attr_t attr;
	pthread_t	thread;

	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	undone_cancel(job);
	job->started_ms = clock_monotonic_ms();
	jobs_running++;
	if (pthread_create(&thread, &attr, job_main, job) != 0)
	{
		log_error("could not start a thread");
		abort();				/* the journal knows the job; a restart resumes it */
	}
	pthread_attr_destroy(&attr);
}

/* ---- start and stop ---- */

static void
restore(json_t *record, void *arg)
{
	Job		   *job;
	const char *run = param_string(record, "run", NULL);
	const char *step = param_string(record, "step", NULL);

	if (!pingpong_key_valid(run) || !pingpong_key_valid(step) || !json_is_array(jobview_order(record)))
		return;
	job = job_new(run, step, jobview_order(record));
	jobview_restore(job, record);
	job_insert(job);
}

/* The action that an earlier life of this agent was at, or 0 */
static size_t
present_part(const Job *job)
{
	for (size_t i = 0; i < job->nparts; i++)
		if (job->parts[i].state < PART_SUCCEEDED)
			return i;
	return 0;
}

static bool
part_resumes(const Job *job, size_t i)
{
	const ActionEntry *entry = action_find(param_string(json_array_get(job->actions, i), "action", ""));

	return entry && (entry->flags & ACTION_RESUMABLE);
}

static void
fail_part(Job *job, size_t i)
{
	JobError   *error = &job->parts[i].error;

	if (i < job->nparts)
		job->parts[i].state = PART_FAILED;
	job_clear_error(error);
	snprintf(error->code, sizeof(error->code), "%s", STATE_SYSTEM_ERROR);
	error->message = xstrdup("agent was restarted");
	job_copy_error(&job->error, error);
}

/*
 * The lock is held. What was going back goes on going back; what may not be resumed by itself has failed, and what
 * was done before it is undone.
 */
static void
resume_or_fail(Job *job, const AgentConfig *config)
{
	JobPart    *failed = job_failed_part(job);
	size_t		i = present_part(job);
	json_t	   *record;

	if (failed && !job->error.message)
		job_copy_error(&job->error, &failed->error);
	else if (failed)
		;						/* the record has it */
	else if (job->nparts == 0 || !part_resumes(job, i))
		fail_part(job, i);
	if (!job_failed_part(job) || has_undo(job))
	{
		log_info("job %s/%s is resumed", job->run, job->step);
		job->resumed = true;
		job_begin(job);
		return;
	}
	job->state = JOB_FAILED;
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
		journal_read_all(config->state_dir, restore, NULL);
	for (Job *job = job_table; job; job = job->next)
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
	jobs_shutting_down = true;
	for (Job *job = job_table; job; job = job->next)
		pthread_cond_broadcast(&job->changed);
	while (jobs_running > 0)
		if (pthread_cond_timedwait(&jobs_idle, &jobs_lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&jobs_lock);
}
