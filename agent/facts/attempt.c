/*
 * attempt.c
 *		Questions that may take long (a connection across a firewall, a name server, a command of the site): each in a
 *		thread of its own, given up at a deadline.
 *
 * A thread that was given up ends when its question ends, and frees what it had. Nothing waits for it, so one silent
 * host does not delay all other facts.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "agent/core/alloc.h"
#include "agent/facts/attempt.h"
#include "agent/facts/error.h"

struct Attempt
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool		done;
	bool		given_up;		/* the thread frees it */
	AttemptFunction function;
	AgentConfig *config;		/* that the instance is of: it outlives the job, which may have given this up */
	const PgInstance *pg;
	json_t	   *params;			/* the thread's own copy */
	json_t	   *answer;
};

static void
attempt_free(Attempt *attempt)
{
	pthread_mutex_destroy(&attempt->lock);
	pthread_cond_destroy(&attempt->changed);
	json_decref(attempt->params);
	json_decref(attempt->answer);
	config_release(attempt->config);
	free(attempt);
}

static void *
attempt_main(void *argument)
{
	Attempt    *attempt = argument;
	bool		given_up;

	attempt->answer = attempt->function(attempt->pg, attempt->params);
	pthread_mutex_lock(&attempt->lock);
	attempt->done = true;
	given_up = attempt->given_up;
	pthread_cond_signal(&attempt->changed);
	pthread_mutex_unlock(&attempt->lock);
	if (given_up)
		attempt_free(attempt);
	return NULL;
}

Attempt *
attempt_begin(AttemptFunction function, const AgentConfig *config, const PgInstance *pg, json_t *params)
{
	Attempt    *attempt = xalloc(sizeof(Attempt));
	pthread_condattr_t condition;
	pthread_attr_t attr;
	pthread_t	thread;

	pthread_mutex_init(&attempt->lock, NULL);
	pthread_condattr_init(&condition);
	pthread_condattr_setclock(&condition, CLOCK_MONOTONIC);
	pthread_cond_init(&attempt->changed, &condition);
	pthread_condattr_destroy(&condition);
	attempt->function = function;
	attempt->config = config_hold(config);
	attempt->pg = pg;
	attempt->params = json_deep_copy(params);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, 512 * 1024);
	if (pthread_create(&thread, &attr, attempt_main, attempt) != 0)
	{
		attempt->answer = facts_error("could not start a thread");
		attempt->done = true;
	}
	pthread_attr_destroy(&attr);
	return attempt;
}

json_t *
attempt_end(Attempt *attempt, double deadline_ms)
{
	struct timespec until = {.tv_sec = (time_t) (deadline_ms / 1000)};
	json_t	   *answer = NULL;
	bool		done;

	until.tv_nsec = (long) ((deadline_ms - until.tv_sec * 1000.0) * 1000000);
	pthread_mutex_lock(&attempt->lock);
	while (!attempt->done && pthread_cond_timedwait(&attempt->changed, &attempt->lock, &until) != ETIMEDOUT)
		;
	done = attempt->done;
	attempt->given_up = !done;
	if (done)
		answer = json_incref(attempt->answer);
	pthread_mutex_unlock(&attempt->lock);
	if (done)
		attempt_free(attempt);
	return answer;
}
