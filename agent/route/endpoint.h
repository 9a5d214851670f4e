/*
 * endpoint.h
 *		One PgBouncer in the memory of the agent: its connections, its pause, and the file that a run prepared for it.
 *
 * There is one for each section [pgbouncer.NAME], and it lives as long as the process. Several jobs use it at a time,
 * under its lock. After a restart of the agent only the pause is known again, from the file of pause.c.
 */
#ifndef PINGPONG_AGENT_ROUTE_ENDPOINT_H
#define PINGPONG_AGENT_ROUTE_ENDPOINT_H

#include <jansson.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>

#define ENDPOINT_DATABASES_MAX 500	/* in one order */
#define ENDPOINT_PAUSERS_MAX 8

/*
 * When a pause is over, whatever happens; it outlasts us. By two clocks, of which the earlier one counts: the
 * realtime clock may be set back, the other one is good in one life of the host only.
 */
typedef struct PauseEnd
{
	double		real_ms;		/* CLOCK_REALTIME */
	double		boot_ms;		/* CLOCK_BOOTTIME; 0: not known */
	char		boot_id[64];
} PauseEnd;

/* The version of the file that a run is going to need, made beforehand */
typedef struct Stage
{
	char	   *run;			/* NULL: nothing is staged */
	char	   *host;
	int			port;
	char	   *base;			/* the text that it was made from */
	json_t	   *databases;		/* of all routes of the run that were prepared here */
} Stage;

/* Lives as long as the process, one for each name ever used.  All fields but name: under lock. */
typedef struct Endpoint
{
	struct Endpoint *next;
	char	   *name;
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* CLOCK_MONOTONIC */
	PGconn	   *control;		/* for everything that answers at once */
	PGconn	   *pausers[ENDPOINT_PAUSERS_MAX];	/* opened by prepare, one a route; a pause takes one away */
	int			n_pausers;
	char	   *pausers_run;	/* whose prepare opened them */
	Stage		stage;
	bool		probed;			/* until its next RELOAD, PgBouncer remembers a database that was a probe */
	double		proved_ms;		/* CLOCK_REALTIME of the last proof, 0: none since the start of the agent */
	char	   *proof_error;	/* why it failed, NULL: it did not */
	char	   *proved_run;		/* the run whose proof succeeded last */
	unsigned	generation;		/* grows when a pause is over: commit, release, deadline, next pause */
	int			wake_fd;		/* of the pause that waits, -1: none */
	char	   *pause_run;		/* of the pause that is on; two orders of one run are one pause */
	json_t	   *paused;			/* its databases, NULL: no pause is on */
	PauseEnd	pause_end;
	char	   *ended_run;		/* the last run that had a commit or release here */
	json_t	   *ended;			/* and for which databases */
	char	   *file_retry;		/* server_login_retry as PgBouncer's files have it, NULL: not seen yet */
	char	   *login_retry;	/* the same while it is lowered, else NULL */
	unsigned	retry_turn;		/* the last one to lower it puts it back */
} Endpoint;

extern Endpoint *endpoint_get(const char *name);

/* A pause is over: threads that wait for it stop waiting.  The lock is held. */
extern void endpoint_end_pause(Endpoint *endpoint);

/* More databases are paused, for that run (NULL: not known).  The lock is held. */
extern void endpoint_add_pause(Endpoint *endpoint, const char *run, json_t *databases);

/* The consoles for PAUSE that are no longer needed.  The lock is held. */
extern void endpoint_close_pausers(Endpoint *endpoint);

/* A run will not pause these any more; was it so?  The lock is held. */
extern void endpoint_note_ended(Endpoint *endpoint, const char *run, json_t *databases);
extern bool endpoint_has_ended(Endpoint *endpoint, const char *run, json_t *databases);

#endif							/* PINGPONG_AGENT_ROUTE_ENDPOINT_H */
