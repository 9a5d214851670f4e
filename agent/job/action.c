/*
 * action.c
 *		What an action may call while it works: its error, progress, output; was it cancelled?
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/job/action.h"
#include "agent/job/job.h"
#include "agent/job/journal.h"
#include "agent/job/view.h"
#include "common/sqlstate.h"

static void
set_text(char **field, const char *format, va_list args)
{
	free(*field);
	if (vasprintf(field, format, args) < 0)
		*field = NULL;
}

int
action_fail(ActionContext *ctx, const char *sqlstate, const char *format,...)
{
	JobError   *error = ctx->error;
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
	set_text(&ctx->error->detail, format, args);
	va_end(args);
	pthread_mutex_unlock(&jobs_lock);
}

void
action_detail_more(ActionContext *ctx, const char *format,...)
{
	JobError   *error = ctx->error;
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
	set_text(&ctx->error->hint, format, args);
	va_end(args);
	pthread_mutex_unlock(&jobs_lock);
}

void
action_forget_error(ActionContext *ctx)
{
	pthread_mutex_lock(&jobs_lock);
	job_clear_error(ctx->error);
	pthread_mutex_unlock(&jobs_lock);
}

/* Only the job's own thread writes the error, so it may read it without the lock. */
const char *
action_error_message(ActionContext *ctx)
{
	return ctx->error->message ? ctx->error->message : "";
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
	cancel = ctx->job->cancel && !ctx->undoing;
	pthread_mutex_unlock(&jobs_lock);
	return cancel;
}

int
action_keep(ActionContext *ctx, json_t *result)
{
	json_t	   *record;
	int			rc;

	pthread_mutex_lock(&jobs_lock);
	json_decref(ctx->part->result);
	ctx->part->result = json_deep_copy(result);
	record = jobview_record(ctx->job);
	pthread_mutex_unlock(&jobs_lock);
	rc = journal_write(ctx->config->state_dir, ctx->run, ctx->step, record, true);
	json_decref(record);
	return rc == 0 ? 0 : action_fail(ctx, STATE_IO_ERROR, "could not write the job journal: %s", strerror(errno));
}

json_t *
action_kept(ActionContext *ctx)
{
	return ctx->part->result;
}

void
action_afterwards(ActionContext *ctx, void (*function) (ActionContext *ctx, json_t *params), json_t *params)
{
	action_do_afterwards(ctx);	/* of an earlier action of the same job */
	ctx->afterwards = function;
	ctx->afterwards_params = json_incref(params);
}

void
action_do_afterwards(ActionContext *ctx)
{
	if (ctx->afterwards)
		ctx->afterwards(ctx, ctx->afterwards_params);
	ctx->afterwards = NULL;
	json_decref(ctx->afterwards_params);
	ctx->afterwards_params = NULL;
}
