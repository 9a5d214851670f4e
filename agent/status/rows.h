/*
 * rows.h
 *		Which run is meant, and its steps as rows: pure functions of the jobs, tested by test/unit_status.c.
 *
 * `jobs` are those of news.h, oldest first.
 */
#ifndef PINGPONG_AGENT_STATUS_ROWS_H
#define PINGPONG_AGENT_STATUS_ROWS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/names.h"

/* A step of the run. Pointers are borrowed from the jobs. */
typedef struct Row
{
	char		step[PINGPONG_KEY_MAX + 1]; /* as the run's report has it; else the action's name */
	char		node[PINGPONG_KEY_MAX + 1]; /* the same; else the key of the job */
	const char *state;
	double		ms;				/* so far, or in all; < 0: not known */
	double		last_ms;		/* of the same action, the last time that it went well before; < 0: not known */
	double		percent;		/* < 0: not known */
	const char *progress;		/* what it does now; "" if it does not say */
	json_t	   *error;			/* NULL: none */
} Row;

/* How the jobs of a run are, all together. */
typedef struct RowsEnd
{
	int			jobs;
	int			running;
	int			failed;			/* or cancelled */
	double		ended_ms;		/* CLOCK_REALTIME: when the last one ended; 0: none has */
} RowsEnd;

/*
 * The key of the run that a person means by its number or its key; NULL: by nothing, which is the latest one. NULL
 * with an error: it is not known, or it is not the only one.
 */
extern const char *rows_pick(json_t *jobs, const char *wanted, char *error, size_t error_size);

/*
 * The rows of these jobs, malloc'd, *n of them. all: what is known of other jobs, for last_ms. old: it was so when
 * the journal was written, and nothing is said of the present.
 */
extern Row *rows_make(json_t *jobs, json_t *all, bool old, int *n);
extern RowsEnd rows_end(json_t *jobs);

/* Its number; 0: it is not told. */
extern long long rows_number(json_t *jobs);

#endif							/* PINGPONG_AGENT_STATUS_ROWS_H */
