/*
 * job.h
 *		A job: an ordered list of actions under a key (run, step), executed once.
 */
#ifndef PINGPONG_AGENT_JOB_JOB_H
#define PINGPONG_AGENT_JOB_JOB_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/names.h"

typedef enum JobState
{
	JOB_RUNNING, JOB_SUCCEEDED, JOB_FAILED, JOB_CANCELLED
} JobState;

typedef struct JobError
{
	char		code[6];
	char	   *message;		/* NULL: no error */
	char	   *detail;
	char	   *hint;
} JobError;

/* How far one action of a job is. */
typedef enum PartState
{
	PART_PENDING,
	PART_RUNNING,
	PART_SUCCEEDED,
	PART_FAILED,				/* or cancelled; what it did is undone, if it has an undo */
	PART_UNDONE,
	PART_NOT_UNDONE				/* its undo failed */
} PartState;

typedef struct JobPart
{
	PartState	state;
	double		began_ms;		/* CLOCK_REALTIME; 0: not yet */
	double		took_ms;
	json_t	   *result;			/* NULL: none; until the action has ended, what it is about to do */
	JobError	error;			/* why it failed */
	JobError	undo_error;
} JobPart;

/*
 * All fields but those marked are guarded by jobs_lock; the thread of the job changes
 * them, those of the HTTP front read them.  A job is never freed while it runs or while
 * someone waits for it.
 */
typedef struct Job
{
	struct Job *next;			/* newest first */
	int			waiters;
	pthread_cond_t changed;

	char		run[PINGPONG_KEY_MAX + 1];	/* these nine: set once */
	char		step[PINGPONG_KEY_MAX + 1];
	int64_t		epoch;
	int64_t		number;			/* of the run, for people; 0: not told */
	double		received_ms;	/* CLOCK_REALTIME */
	double		started_ms;		/* CLOCK_MONOTONIC */
	json_t	   *actions;		/* as they were ordered */
	json_t	   *undoes;			/* steps of the run that must have ended before it begins; NULL: none */
	size_t		nparts;

	JobPart    *parts;			/* one an action */
	JobState	state;
	bool		cancel;
	bool		resumed;
	double		elapsed_ms;		/* of an ended job */
	char	   *progress;
	double		percent;		/* < 0: not known */
	JobError	error;
	char	   *output;			/* ring of PINGPONG_OUTPUT_MAX bytes, NULL: nothing yet */
	size_t		output_total;	/* bytes ever written to it */
} Job;

extern pthread_mutex_t jobs_lock;

/* A job that has not begun; it is in no table yet.  Keeps a copy of `actions`, which may be anything. */
extern Job *job_new(const char *run, const char *step, json_t *actions);
extern void job_free(Job *job);
extern void job_clear_error(JobError *error);
extern void job_copy_error(JobError *to, const JobError *from);

/* The first part that failed; NULL: none has, so the job goes forward. */
extern JobPart *job_failed_part(Job *job);

#endif							/* PINGPONG_AGENT_JOB_JOB_H */
