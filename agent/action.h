/*
 * action.h
 *		The interface between the job executor and the actions.
 *
 * An action is a function that gets its parameters and fills a result object.  It
 * returns 0, or what action_fail() returned.  It runs in the thread of its job and
 * may block; it looks at action_cancelled() where it waits.  Every action can be
 * repeated without harm: both workers may ask for it, and one that is marked as
 * resumable is run again from its beginning when the agent was restarted under it.
 */
#ifndef PINGPONG_AGENT_ACTION_H
#define PINGPONG_AGENT_ACTION_H

#include <jansson.h>
#include <stdint.h>

#include "agent/core/config.h"

struct Job;

typedef struct ActionContext
{
	struct Job *job;			/* for the executor only */
	const AgentConfig *config;	/* stays the same while the job runs */
	const char *run;
	const char *step;
	int64_t		epoch;
	double		age_ms;			/* of the job when its thread began: not 0 where it was resumed */
	bool		resumed;		/* the agent was restarted while this action ran */

	/* set by action_afterwards() and by the executor */
	void		(*afterwards) (struct ActionContext *ctx, json_t *params);
	json_t	   *afterwards_params;
	bool		epoch_proved;
} ActionContext;

typedef int (*ActionFunction) (ActionContext *ctx, json_t *params, json_t *result);

/* Flags of an action */
#define ACTION_RESUMABLE	0x01	/* may be run again after a restart of the agent */
#define ACTION_LAZY_JOURNAL 0x02	/* its job needs no fsync: what counts is kept elsewhere */
#define ACTION_RAISES_EPOCH 0x04	/* its success proves that the primary has moved */
#define ACTION_NEEDS_PG		0x08	/* refused by an agent without [postgresql] */
#define ACTION_ANY_EPOCH	0x10	/* a question: changes nothing, so it is answered to an older epoch, too */

typedef struct ActionEntry
{
	const char *name;
	ActionFunction function;
	int			flags;
} ActionEntry;

/* actions.c */
extern const ActionEntry *action_find(const char *name);

/* jobs.c: what an action may call.  All are safe in any thread of the job. */

/*
 * Sets the job's error and returns -1.  The message is one line, lower case; no secrets.
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
 * Something to be done when the answer is out: for fsyncs that make repeating the action
 * cheaper, but not different.  A crash before it finds the job "running".
 */
extern void action_afterwards(ActionContext *ctx, void (*function) (ActionContext *ctx, json_t *params),
							  json_t *params);

/* Parameters: the value, or the default; a wrong type counts as missing. */
extern const char *param_string(json_t *params, const char *name, const char *otherwise);
extern int64_t param_int(json_t *params, const char *name, int64_t otherwise);
extern bool param_bool(json_t *params, const char *name, bool otherwise);

/* Error codes we use (the same SQLSTATEs as PostgreSQL) */
#define STATE_INVALID_PARAMETER "22023"
#define STATE_NOT_IN_PREREQUISITE_STATE "55000"
#define STATE_UNDEFINED_OBJECT "42704"
#define STATE_OBJECT_IN_USE "55006"
#define STATE_CONNECTION_FAILURE "08006"
#define STATE_CANCELED "57014"
#define STATE_TIMED_OUT "57014"
#define STATE_SYSTEM_ERROR "58000"
#define STATE_IO_ERROR "58030"
#define STATE_EXTERNAL_ROUTINE "38000"
#define STATE_INTERNAL_ERROR "XX000"

/* The actions, one file a family */
extern int	action_facts(ActionContext *ctx, json_t *params, json_t *result);	/* facts.c */
extern int	action_pg_checkpoint(ActionContext *ctx, json_t *params, json_t *result);	/* settings.c */
extern int	action_pg_query(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_note(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_setting(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_slot_ensure(ActionContext *ctx, json_t *params, json_t *result);	/* slots.c */
extern int	action_slot_drop(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_slot_tidy(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_token_arm(ActionContext *ctx, json_t *params, json_t *result);	/* promote.c */
extern int	action_token_burn(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_promote(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_warm(ActionContext *ctx, json_t *params, json_t *result);	/* stop.c */
extern int	action_pg_retire(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pg_follow(ActionContext *ctx, json_t *params, json_t *result);	/* rejoin.c */
extern int	action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pgbouncer_prepare(ActionContext *ctx, json_t *params, json_t *result);	/* pgbouncer.c */
extern int	action_pgbouncer_pause(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pgbouncer_commit(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pgbouncer_release(ActionContext *ctx, json_t *params, json_t *result);
extern int	action_pgbouncer_smoke(ActionContext *ctx, json_t *params, json_t *result);	/* smoke.c */
extern int	action_hook(ActionContext *ctx, json_t *params, json_t *result);	/* hook.c */

#endif							/* PINGPONG_AGENT_ACTION_H */
