/*
 * executor.c
 *		The executor: a thread a job, idempotent by (run, step), durable, resumable.
 *
 * A job is journaled when it begins, after each of its actions but the last, and when
 * it ends.  Normally the record is on disk before the answer is given.  Jobs made of
 * ACTION_LAZY_JOURNAL actions stand in the blackout: their answer goes first and their
 * records are not fsynced, since the truth about them is elsewhere (the token file, the
 * server, PgBouncer) and doing them again finds it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
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
#include "agent/job/sqlstate.h"
#include "agent/job/table.h"
#include "agent/job/view.h"
#include "common/names.h"

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

	if (ctx->afterwards)
		ctx->afterwards(ctx, ctx->afterwards_params);
	errno = reason;
	return ctx->epoch_proved ? rc : 0;
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
	else
		rc = instance_choose(ctx, entry->flags, params);
	if (rc == 0)
		rc = entry->function(ctx, params, result);
	if (rc == 0)
		action_forget_error(ctx);	/* of a way that was left for another one */
	if (rc == 0 && instance_raises_epoch(ctx, entry->flags))
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
	bool		lazy = (action_flags_of(job->actions) & ACTION_LAZY_JOURNAL) != 0;
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
void
job_begin(Job *job)
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

/* ---- start and stop ---- */

static void
restore(json_t *record)
{
	Job		   *job;
	const char *run = param_string(record, "run", NULL);
	const char *step = param_string(record, "step", NULL);

	if (!pingpong_key_valid(run) || !pingpong_key_valid(step) || !json_is_array(json_object_get(record, "actions")))
		return;
	job = job_new(run, step);
	jobview_restore(job, record);
	job_insert(job);
}

/* The lock is held. */
static void
resume_or_fail(Job *job, const AgentConfig *config)
{
	json_t	   *record;

	if (action_flags_of(job->actions) & ACTION_RESUMABLE)
	{
		log_info("job %s/%s is resumed", job->run, job->step);
		job->resumed = true;
		job_begin(job);
		return;
	}
	job->state = JOB_FAILED;
	job_clear_error(job);
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
