/*
 * action.h
 *		The interface between the job executor and the actions.
 *
 * An action is a function that gets its parameters and fills a result object. It returns 0, or what action_fail()
 * returned. It runs in the thread of its job and may block. It checks action_cancelled() where it waits. Every action
 * can be repeated without harm: both workers may ask for it, and one that is marked as resumable is run again from
 * its beginning if the agent was restarted during it.
 */
#ifndef PINGPONG_AGENT_JOB_ACTION_H
#define PINGPONG_AGENT_JOB_ACTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/core/config.h"

struct Job;
struct JobError;

typedef struct ActionContext
{
	struct Job *job;			/* for the executor only */
	struct JobPart *part;		/* the action that runs or is undone; for the executor only */
	struct JobError *error;		/* what action_fail() sets: of the action that runs, or of its undo */
	const AgentConfig *config;	/* stays the same while the job runs */
	const PgInstance *pg;		/* the server that the action works on; NULL: the agent has none */
	const char *run;
	const char *step;
	int64_t		epoch;
	double		age_ms;			/* of the job when its thread began: not 0 where it was resumed */
	bool		resumed;		/* the agent was restarted while this action ran */
	bool		undoing;		/* this action undoes another one; action_cancelled() is false */

	/* set by action_afterwards() and by the executor */
	void		(*afterwards) (struct ActionContext *ctx, json_t *params);
	json_t	   *afterwards_params;
	bool		epoch_proved;
} ActionContext;

typedef int (*ActionFunction) (ActionContext *ctx, json_t *params, json_t *result);

/* Flags of an action */
#define ACTION_RESUMABLE	0x01	/* may be run again after a restart of the agent */
#define ACTION_LAZY_JOURNAL 0x02	/* its job needs no fsync: what counts is kept elsewhere */
#define ACTION_RAISES_EPOCH 0x04	/* its success, on the main instance, proves that the primary has moved */
#define ACTION_NEEDS_PG		0x08	/* it works on a server: refused by an agent without [postgresql] */
#define ACTION_ANY_EPOCH	0x10	/* a question: changes nothing, so it is answered to an older epoch, too */
#define ACTION_MAIN_ONLY	0x20	/* of the node's own server: refused for a named instance */
#define ACTION_UNRECORDED	0x40	/* a question that comes every few seconds: no record, and no line of the log */

typedef struct ActionEntry
{
	const char *name;
	ActionFunction function;
	int			flags;
} ActionEntry;

/* What an action may call.  All are safe in any thread of the job. */

/*
 * Sets the error of the action and returns -1.  The message is one line, lower case; no secrets.
 * The first failure stays: what fails while cleaning up does not replace the cause.
 */
extern int	action_fail(ActionContext *ctx, const char *sqlstate, const char *format,...)
			__attribute__((format(printf, 3, 4)));
extern void action_detail(ActionContext *ctx, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void action_detail_more(ActionContext *ctx, const char *format,...)
			__attribute__((format(printf, 2, 3)));	/* one sentence more */
extern void action_hint(ActionContext *ctx, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void action_forget_error(ActionContext *ctx);	/* another way will be tried */
extern const char *action_error_message(ActionContext *ctx);	/* "" without an error */

extern void action_progress(ActionContext *ctx, double percent, const char *format,...)
			__attribute__((format(printf, 3, 4)));	/* percent < 0: not known */
extern void action_output(ActionContext *ctx, const char *data, size_t size);
extern bool action_cancelled(ActionContext *ctx);

/*
 * What an action is about to do, on disk before it does it: its undo takes that if the agent dies in the middle. In
 * its next life the action finds it by action_kept() (NULL: nothing) and its result has to tell of it, too. Not 0:
 * it could not be written, and the error is set.
 */
extern int	action_keep(ActionContext *ctx, json_t *result);
extern json_t *action_kept(ActionContext *ctx);

/*
 * Something to be done when the answer is out: for fsyncs that make repeating the action
 * cheaper, but not different.  A crash before it finds the job "running".
 */
extern void action_do_afterwards(ActionContext *ctx);
extern void action_afterwards(ActionContext *ctx, void (*function) (ActionContext *ctx, json_t *params),
							  json_t *params);

#endif							/* PINGPONG_AGENT_JOB_ACTION_H */
