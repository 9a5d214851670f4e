/*
 * endpoint.h
 *		A PgBouncer as we know it: its connections, its pause.
 */
#ifndef PINGPONG_AGENT_ENDPOINT_H
#define PINGPONG_AGENT_ENDPOINT_H

#include <pthread.h>

#include "agent/pg/pg.h"

#define ENDPOINT_DATABASES_MAX 500	/* in one order */
#define ENDPOINT_PAUSERS_MAX 8
#define ADMIN_TIMEOUT_MS 5000	/* "query_timeout_ms" of the endpoint, where that is not set */

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

/* A pause is over: whoever waits for it stops waiting.  The lock is held. */
extern void endpoint_end_pause(Endpoint *endpoint);

/* More databases are paused, for that run (NULL: not known).  The lock is held. */
extern void endpoint_add_pause(Endpoint *endpoint, const char *run, json_t *databases);

/* The consoles for PAUSE that nobody needs any more.  The lock is held. */
extern void endpoint_close_pausers(Endpoint *endpoint);

/* A run will not pause these any more; was it so?  The lock is held. */
extern void endpoint_note_ended(Endpoint *endpoint, const char *run, json_t *databases);
extern bool endpoint_has_ended(Endpoint *endpoint, const char *run, json_t *databases);

/* How long a console may take for an answer */
extern int	admin_timeout_ms(const BouncerConfig *bouncer);

/* Opens an admin connection; NULL with error set. */
extern PGconn *admin_connect(const BouncerConfig *bouncer, char *error, size_t error_size);

/* A statement on the console with a limit; NULL with error set.  The connection is useless after a time-out. */
extern PGresult *admin_query(PGconn *conn, const char *sql, int timeout_ms, char *error, size_t error_size);

/* The same on the control connection, reconnecting until the deadline (monotonic).  The lock is held. */
extern PGresult *admin_control(Endpoint *endpoint, const BouncerConfig *bouncer, const char *sql, double deadline,
							   char *error, size_t error_size);

/*
 * RESUME of each database, where `reload` behind a RELOAD; that one is not paused is fine.  *refusal: what PgBouncer
 * said to the RELOAD, "" for nothing.  The lock is held.
 */
extern int	admin_resume(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, bool reload,
						 double deadline, char *refusal, size_t refusal_size, char *error, size_t error_size);

/* PAUSE "name" or RESUME "name", malloc'd */
extern char *admin_command(const char *verb, const char *database);

/* burst.c: several statements in one write, past libpq */
#define BURST_AGAIN_MS 20

typedef struct BurstAnswer
{
	bool		ok;
	char		error[200];
} BurstAnswer;

typedef struct BurstReader
{
	int			answered;		/* statements whose end was read */
	int			shows;			/* those of them that were a SHOW */
	char		error[200];		/* of the one that is being read */
	char		first_error[200];	/* of all */
	void		(*note) (struct BurstReader *reader);	/* at each end; may be NULL */
	BurstAnswer *answers;		/* for note */
	char	   *rest;			/* of a message that is not complete */
	size_t		rest_size;
} BurstReader;

extern bool burst_possible(PGconn *conn);

/* Statements that need not be answered (PAUSE); 0: PgBouncer has executed them all; -1: the connection broke. */
extern int	burst_send(PGconn *conn, char *const *statements, BurstReader *reader, double deadline);
extern int	burst_read(PGconn *conn, BurstReader *reader);	/* what is there, without waiting; -1: it broke */
extern void burst_end(BurstReader *reader);

/* All statements (NULL-terminated) on the control connection, again on a new one if it breaks.  The lock is held. */
extern int	burst_run(Endpoint *endpoint, const BouncerConfig *bouncer, char *const *statements, BurstAnswer *answers,
					  double deadline, char *error, size_t error_size);

/* pause.c: the end that every pause carries, kept in state_dir/pause/ENDPOINT.json */
extern PauseEnd pause_end_in(double ms);
extern double pause_left_ms(const PauseEnd *end);	/* <= 0: it is over */
extern int	pause_mark(const AgentConfig *config, Endpoint *endpoint, json_t *databases, const PauseEnd *end);
extern void pause_clear(const AgentConfig *config, Endpoint *endpoint);
extern void pause_guard(Endpoint *endpoint, json_t *databases, const PauseEnd *end);	/* the lock is held */

/*
 * proof.c: what PgBouncer says of itself.  Errors in one line.
 *
 * Do all databases lead to host:port, and to the database that their settings name?  `shown` is SHOW DATABASES.
 */
extern int	proof_leads(PGresult *shown, json_t *databases, const char *host, int port, char *why, size_t why_size);

/* The row of a database, or -1; a column of it, or NULL (also where this version has no such column). */
extern int	proof_row(PGresult *shown, const char *database);
extern const char *proof_column(PGresult *res, int row, const char *column);

/*
 * Is the file one that PgBouncer reads, and does RELOAD take effect?  Tried: a database that leads nowhere is written
 * to the file, looked for, and taken out again. `text` gets the file without it, malloc'd. 0: so it is; 1: it is not;
 * -1: it could not be tried. The lock is held.
 */
extern int	proof_try(Endpoint *endpoint, const BouncerConfig *bouncer, double deadline, char **text, char *why,
					  size_t why_size);

/* Takes out of the file what a proof that was cut off has left there. */
extern int	proof_clean(const BouncerConfig *bouncer, char *why, size_t why_size);

/*
 * retry.c: for some seconds, a failed login does not make clients wait. retry_soon() does it in another thread, which
 * takes the lock, and puts the setting back. retry_statement(): to be sent right behind a RELOAD, where the setting
 * to put back is known (NULL: it is not); retry_soon() must follow. retry_note(): what is set now. The lock is held.
 */
extern void retry_soon(Endpoint *endpoint);
extern const char *retry_statement(Endpoint *endpoint);
extern void retry_note(Endpoint *endpoint, const char *value);

/* Waits a moment until no login to a server is under way (in these databases; NULL: in any).  The lock is held. */
extern void retry_await_logins(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, int limit_ms);

#endif							/* PINGPONG_AGENT_ENDPOINT_H */
