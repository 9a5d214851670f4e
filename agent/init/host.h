/*
 * host.h
 *		What is on this host: a PostgreSQL cluster, PgBouncer, the user of the agent.
 */
#ifndef PINGPONG_AGENT_INIT_HOST_H
#define PINGPONG_AGENT_INIT_HOST_H

#include <stdbool.h>
#include <sys/types.h>

#include "agent/core/config.h"
#include "agent/init/options.h"

typedef struct InitHost
{
	bool		root;			/* we may give files to others */
	char	   *owner;			/* user of the agent: that of PostgreSQL, or PgBouncer's */
	uid_t		uid;
	gid_t		gid;
	PgInstance *pg;				/* NULL: no PostgreSQL here */
	bool		runs;			/* the server */
	char	   *bouncer_ini;	/* NULL: no PgBouncer here */
	char	   *bouncer_socket;
	int			bouncer_port;
	char	   *bouncer_file;	/* that is to have the routed databases */
	bool		bouncer_of_other;	/* it runs as another user than the agent: cannot read its files */
} InitHost;

/* 0, or -1 after a line that says what is missing, or which of several has to be named. */
extern int	host_look(InitHost *host, const InitOptions *options);

/* From here to host_as_self() this process has the rights of the agent's user, where it has those of root. */
extern void host_as_owner(const InitHost *host);
extern void host_as_self(const InitHost *host);

/* Runs a program (as the owner: with that user's rights) and waits for it; its exit status. */
extern int	host_run(const InitHost *host, bool as_owner, char *const *argv);

extern char *host_unit(const PgInstance *pg);	/* how a person restarts it, malloc'd */

#endif							/* PINGPONG_AGENT_INIT_HOST_H */
