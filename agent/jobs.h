/*
 * jobs.h
 *		Jobs: an ordered list of actions under a key (run, step), executed once.
 */
#ifndef PINGPONG_AGENT_JOBS_H
#define PINGPONG_AGENT_JOBS_H

#include <pthread.h>

#include "agent/action.h"
#include "common/names.h"

#define JOB_ACTIONS_MAX 32
#define JOB_RUNS_KEPT 50
#define JOB_QUESTIONS_KEPT 20

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

/*
 * All fields but those marked are guarded by the one lock in jobs.c; the thread of the
 * job changes them, those of the HTTP front read them.  A job is never freed while it
 * runs or while someone waits for it.
 */
typedef struct Job
{
	struct Job *next;			/* newest first */
	int			waiters;
	pthread_cond_t changed;

	char		run[PINGPONG_KEY_MAX + 1];	/* these six: set once */
	char		step[PINGPONG_KEY_MAX + 1];
	int64_t		epoch;
	double		received_ms;	/* CLOCK_REALTIME */
	double		started_ms;		/* CLOCK_MONOTONIC */
	json_t	   *actions;

	JobState	state;
	bool		cancel;
	bool		resumed;
	double		elapsed_ms;		/* of an ended job */
	json_t	   *results;		/* its elements do not change once they are in */
	char	   *progress;
	double		percent;		/* < 0: not known */
	JobError	error;
	char	   *output;			/* ring of PINGPONG_OUTPUT_MAX bytes, NULL: nothing yet */
	size_t		output_total;	/* bytes ever written to it */
} Job;

/* How a request for a job ended */
typedef enum JobAnswer
{
	JOB_OK, JOB_BAD_REQUEST, JOB_OLD_EPOCH, JOB_UNKNOWN, JOB_SHUTDOWN
} JobAnswer;

/*
 * proved_epoch: what the promote tokens say, 0 for nothing; the file may be behind, where a disk was full.
 *
 * Reads the journal, resumes what may be resumed, fails the rest. -1 with error: the epoch is there and cannot be
 * read; nothing was begun, and nothing must be.
 */
extern int	jobs_start(int64_t proved_epoch, char *error, size_t error_size);

/* Wakes all who wait; gives running jobs limit_ms to end.  What still runs is resumed at the next start. */
extern void jobs_shutdown(int limit_ms);

/* Each gives the job as JSON, or with another answer than JOB_OK a reason in error. */
extern JobAnswer jobs_post(json_t *request, json_t **answer, char *error, size_t error_size);
extern JobAnswer jobs_get(const char *run, const char *step, int64_t wait_ms, json_t **answer);
extern JobAnswer jobs_cancel(const char *run, const char *step, json_t **answer);
extern json_t *jobs_list(void);

/* journal.c: the files.  None of them needs the lock of jobs.c. */
extern int	journal_write(const char *state_dir, const char *run, const char *step, json_t *record, bool durable);
extern void journal_read_all(const char *state_dir, void (*found) (json_t *record));
extern void journal_remove_run(const char *state_dir, const char *run);
extern void journal_remove_job(const char *state_dir, const char *run, const char *step);
/* *epoch: 0 for none yet; -1 with error: it is there and cannot be read */
extern int	journal_read_epoch(const char *state_dir, int64_t *epoch, char *error, size_t error_size);
extern int	journal_write_epoch(const char *state_dir, int64_t epoch);

#endif							/* PINGPONG_AGENT_JOBS_H */
