/*
 * postmaster.h
 *		The process that serves a data directory, with proof.
 */
#ifndef PINGPONG_AGENT_PG_POSTMASTER_H
#define PINGPONG_AGENT_PG_POSTMASTER_H

#include <stdbool.h>
#include <sys/types.h>

/* postmaster.pid, taken apart */
typedef struct PidFile
{
	bool		unreadable;		/* it is there, and that is all that is known */
	pid_t		pid;			/* 0: there is no such file, or no number in it */
	int			port;
	char		socket[120];	/* folder of the unix socket; "" for none */
	int			memory_id;		/* of its shared memory; -1: not told */
	char		status[16];		/* starting, standby, ready, stopping; "" before it says so */
} PidFile;

extern PidFile pidfile_read(const char *data);

/*
 * A descriptor (pidfd) of the postmaster of that directory, or -1: none runs. The number in postmaster.pid is not
 * believed: it may be used again by another process, which must not be waited for nor be signalled.
 */
extern int	postmaster_open(const char *data);

/*
 * The options of the server's last start (postmaster.opts) but for -D, as a list (text_free_list); NULL: none, or not
 * known. What was given there and is in no file would be lost by a start without it.
 */
extern char **postmaster_options(const char *data);

/* The value that such options give a setting (-c name=value, --name=value), in them; NULL: none. */
extern const char *postmaster_option(char *const *options, const char *name);

/* What we add ourselves. */
#define OUR_SYNC_OPTION "recovery_init_sync_method=syncfs"

/* Its pid, 0: none runs. For showing; to signal it, open it. */
extern pid_t postmaster_pid(const char *data);

/*
 * Is there still something of a postmaster that is no more: its process, not yet reaped by its parent, or a child
 * that uses its shared memory? As long as there is, no server starts there.
 */
extern bool postmaster_has_remains(const char *data);

/*
 * Proved: no process of a server works in that directory or has its memory. That there is no postmaster.pid, or that
 * its process cannot be looked into, is no proof. False also where it cannot be told.
 */
extern bool postmaster_gone(const char *data);

/*
 * Removes lock files (postmaster.pid, that of the socket) whose number belongs to another process now: PostgreSQL
 * would take that one for its own predecessor and not start. True: there is none in the way.
 */
extern bool postmaster_forget_stale(const char *data);

#endif							/* PINGPONG_AGENT_PG_POSTMASTER_H */
