/*
 * child.h
 *		Starting programs: argv lists, no shell, no inherited descriptors, no zombies.
 */
#ifndef PINGPONG_AGENT_JOB_CHILD_H
#define PINGPONG_AGENT_JOB_CHILD_H

#include "agent/job/action.h"

typedef struct ChildOptions
{
	int			timeout_ms;		/* 0: none */
	bool		server;			/* it leaves a server behind, which must not hold our pipe: output to a file */
	const char *password;		/* for libpq, by the environment; NULL: none */
	const char *directory;		/* working directory; NULL: / */
	const char *input;			/* what it reads from its standard input; NULL: nothing */
	void		(*on_output) (void *argument, const char *data, size_t size);	/* besides the job's output */
	const char *(*stop) (void *argument);	/* asked all the time: why it is to be ended; NULL: it may go on */
	void	   *argument;
} ChildOptions;

/*
 * Runs a program to its end; its output goes to the job.  Returns its exit status
 * (128 + n for a signal), or -1 with the job's error set: could not be started, timed
 * out, cancelled.
 */
extern int	child_run(ActionContext *ctx, char *const *argv, const ChildOptions *options);

/* The same; a status other than 0 fails the job (38000) with the program's last words. */
extern int	child_run_or_fail(ActionContext *ctx, char *const *argv, const ChildOptions *options);

/* The same, without a job: for --check.  The output is dropped. */
extern int	child_run_quietly(char *const *argv, int timeout_ms);

/* The same with the beginning of its output, which is text. */
extern int	child_run_text(char *const *argv, int timeout_ms, char *text, size_t size);

/* The same with all of it, piece by piece as it comes. -1: it was ended, because its time was over. */
extern int	child_run_told(char *const *argv, int timeout_ms,
						   void (*on_output) (void *argument, const char *data, size_t size), void *argument);

#endif							/* PINGPONG_AGENT_JOB_CHILD_H */
