/*
 * protocol.h
 *		What worker and agents say to each other: keys, orders, questions, answers.
 *
 * Free of server headers.  Version 2 tells its number and the actions that an agent knows.
 * Worker and agent understand each other across one version: a field that is not there has
 * the meaning that it had before it was invented, and one that is not known is passed over.
 */
#ifndef PINGPONG_PROTOCOL_H
#define PINGPONG_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * PostgreSQL exports a json_object() of its own, and it would be found first.
 * jansson binds its own calls to it symbolically and is safe; code of the module must not
 * call it: json_new() instead.
 */
#ifdef POSTGRES_H
#define json_object jansson_json_object
#include <jansson.h>
#undef json_object
#else
#include <jansson.h>
#endif
#define json_new()	json_pack("{}")

#include "common/names.h"

#define PINGPONG_PROTOCOL 2

/* ---- keys: a job is (run, step) ---- */

/* The key of a step: "80.repoint.rw1", followed by ":2" in a later round (from 1). */
typedef struct StepKey
{
	int			ordinal;
	char		action[32];
	char		node[64];
	int			round;
} StepKey;

extern void protocol_step_key(char *to, size_t size, const StepKey *key);
extern bool protocol_read_step_key(const char *text, StepKey *key);	/* false: it is not the key of a step */

/* Questions are asked again and again, each time under a key of its own; agents keep the newest few of a kind. */
typedef enum Question
{
	QUESTION_NONE,				/* a step, or a note */
	QUESTION_FACTS,
	QUESTION_VERDICT,			/* of a sealed server: was the target promoted? */
	QUESTION_TAKEOVER,			/* of a promoted one: was it by this run? */
	QUESTION_ROUTE				/* where does an endpoint point? */
} Question;

#define QUESTIONS		5
#define FACTS_RUN		"facts" /* run of the questions for facts */
#define ROUTES_RUN		"routes"	/* run of the questions for endpoints */
#define NOTE_STEP		"blackout"	/* step of the note that the old primary leaves */

/* `asker` and `n` make it unique: a pid and a count, or a time. */
extern void protocol_question_key(char *to, size_t size, Question question, int64_t asker, int64_t n);
extern Question protocol_question(const char *run, const char *step);

/* ---- orders ---- */

/* One action of an order; takes over `params`. */
extern json_t *protocol_action(const char *name, json_t *params);

/* The same as one of several of a job: the agent's answer names the step, too. */
extern json_t *protocol_part(const char *step, const char *name, json_t *params);

/*
 * What undoes that action (takes over `params` and `take`) when it, or a later one of its job, fails or is cancelled.
 * take: {"parameter": "field of the result"}; where the result has no such field, or an empty one, there is nothing
 * to undo.
 */
extern void protocol_undo(json_t *action, const char *name, json_t *params, json_t *take);

/* The body of POST /v1/jobs; takes over `actions`. */
extern json_t *protocol_job(const char *run, const char *step, int64_t epoch, int wait_ms, json_t *actions);

/*
 * The job undoes that one of the same run: the agent ends it first, and takes no order for it any more. An agent that
 * does not know that begins at once.
 */
extern void protocol_undoes(json_t *job, const char *step);

/* The number of the run, as people know it: other than its key it may come twice, behind a rollback. */
extern void protocol_number(json_t *job, int64_t number);

/* What such a body says; all of it is borrowed from it. */
typedef struct JobOrder
{
	int			protocol;		/* 1: it does not tell */
	const char *run;
	const char *step;
	int64_t		epoch;
	int64_t		wait_ms;
	int64_t		number;			/* of the run; 0: it is not told */
	json_t	   *actions;
	json_t	   *undoes;			/* keys of steps; NULL: none */
} JobOrder;

#define PROTOCOL_ACTIONS_MAX 32

/* False, with a sentence: it is none. Whether the actions are known is not looked at. */
extern bool protocol_read_job(json_t *body, JobOrder *order, char *error, size_t error_size);

/* Where a job is asked for (wait_ms > 0: until it ends, at most so long), and cancelled. */
extern void protocol_job_path(char *to, size_t size, const char *run, const char *step, int wait_ms);
extern void protocol_cancel_path(char *to, size_t size, const char *run, const char *step);
#define PROTOCOL_JOBS_PATH "/v1/jobs"

/* Where all of them are asked for, or those of a run (its key; NULL: all), without what came of the actions. */
extern void protocol_jobs_path(char *to, size_t size, const char *run);
#define PROTOCOL_PING_PATH "/v1/ping"
#define PROTOCOL_STATE_PATH "/v1/state"
#define PROTOCOL_FRESH_STATE_PATH "/v1/state?fresh_ms=2500" /* the agent looks now, for so long at most */

/* ---- answers ---- */

extern json_t *protocol_result(json_t *job, size_t i);	/* of the action with this number; borrowed, or NULL */
extern json_t *protocol_error(json_t *job); /* borrowed, or NULL */
extern const char *protocol_text(json_t *object, const char *name); /* "" where there is none */

#endif							/* PINGPONG_PROTOCOL_H */
