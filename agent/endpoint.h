/*
 * endpoint.h
 *		A PgBouncer as we know it: its connections, its pause.
 */
#ifndef PINGPONG_AGENT_ENDPOINT_H
#define PINGPONG_AGENT_ENDPOINT_H

#include <pthread.h>

#include "agent/pg.h"

#define ENDPOINT_PAUSERS_MAX 16
#define ADMIN_TIMEOUT_MS 5000

/* Lives as long as the process, one for each name ever used.  All fields but name: under lock. */
typedef struct Endpoint
{
	struct Endpoint *next;
	char	   *name;
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* CLOCK_REALTIME: the deadline of a pause outlasts us */
	PGconn	   *control;		/* for everything that answers at once */
	PGconn	   *pausers[ENDPOINT_PAUSERS_MAX];	/* opened by prepare; a pause takes them away */
	int			n_pausers;
	unsigned	generation;		/* grows when a pause is over: commit, release, deadline, next pause */
	int			wake_fd;		/* of the pause that waits, -1: none */
	char	   *pause_run;		/* of the pause that is on; two orders of one run are one pause */
	json_t	   *paused;			/* its databases, NULL: no pause is on */
	double		pause_deadline_ms;	/* CLOCK_REALTIME */
	char	   *ended_run;		/* the last run that had a commit or release here */
	json_t	   *ended;			/* and for which databases */
	char	   *login_retry;	/* PgBouncer's setting while it is lowered, else NULL */
	unsigned	retry_turn;		/* the last one to lower it puts it back */
} Endpoint;

extern Endpoint *endpoint_get(const char *name);

/* A pause is over: whoever waits for it stops waiting.  The lock is held. */
extern void endpoint_end_pause(Endpoint *endpoint);

/* More databases are paused, for that run (NULL: not known).  The lock is held. */
extern void endpoint_add_pause(Endpoint *endpoint, const char *run, json_t *databases);

/* A run will not pause these any more; was it so?  The lock is held. */
extern void endpoint_note_ended(Endpoint *endpoint, const char *run, json_t *databases);
extern bool endpoint_has_ended(Endpoint *endpoint, const char *run, json_t *databases);

/* Opens an admin connection; NULL with error set. */
extern PGconn *admin_connect(const BouncerConfig *bouncer, char *error, size_t error_size);

/* A statement on the console with a limit; NULL with error set.  The connection is useless after a time-out. */
extern PGresult *admin_query(PGconn *conn, const char *sql, int timeout_ms, char *error, size_t error_size);

/* The same on the control connection, reconnecting until the deadline (monotonic).  The lock is held. */
extern PGresult *admin_control(Endpoint *endpoint, const BouncerConfig *bouncer, const char *sql, double deadline,
							   char *error, size_t error_size);

/* RESUME of each database; that one is not paused is fine.  The lock is held. */
extern int	admin_resume(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, double deadline,
						 char *error, size_t error_size);

/* PAUSE "name" or RESUME "name", malloc'd */
extern char *admin_command(const char *verb, const char *database);

/* pause.c: the deadline that every pause carries, kept in state_dir/pause/ENDPOINT.json */
extern int	pause_mark(const AgentConfig *config, Endpoint *endpoint, json_t *databases, double deadline_ms);
extern void pause_clear(const AgentConfig *config, Endpoint *endpoint);
extern void pause_guard(Endpoint *endpoint, json_t *databases, double deadline_ms);	/* the lock is held */

/* retry.c: for some seconds, a failed login does not make clients wait.  Takes the lock, in another thread. */
extern void retry_soon(Endpoint *endpoint);

#endif							/* PINGPONG_AGENT_ENDPOINT_H */
