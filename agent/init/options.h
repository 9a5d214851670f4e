/*
 * options.h
 *		What pingpong-agent init was told: its arguments, and the file that the first host made for this one.
 */
#ifndef PINGPONG_AGENT_INIT_OPTIONS_H
#define PINGPONG_AGENT_INIT_OPTIONS_H

#include <jansson.h>
#include <stdbool.h>

#define INIT_PEERS_MAX 32
#define INIT_PG_PORT 5432

/* A host of the installation, this one as well. */
typedef struct InitPeer
{
	char	   *name;			/* of the node */
	char	   *host;			/* under which the others reach it */
	int			port;			/* of its PostgreSQL; 0: it has a router only */
	int			agent_port;
} InitPeer;

typedef struct InitOptions
{
	char	   *node;			/* NULL: by the name of the host */
	char	   *host;			/* NULL: the node's name */
	char	   *dir;			/* of the configuration */
	char	   *state_dir;
	int			agent_port;
	char	   *data;			/* data directory; NULL: to be found */
	char	   *bin;
	char	   *socket;
	int			port;			/* of PostgreSQL; 0: to be found */
	char	   *database;		/* of the extension */
	char	   *superuser;
	char	   *owner;			/* user of the agent; NULL: the owner of the data directory */
	char	   *bouncer;		/* PgBouncer's ini, or "none"; NULL: Debian's, if it runs, or nothing else is here */
	char	   *ca;				/* the site's authority; NULL: that of the folder */
	char	   *ca_key;
	char	   *join;			/* file of the first host; NULL: this is the first */
	char	  **rw;				/* databases of routers, DATABASE or DATABASE=NAME-ON-THE-SERVER */
	char	  **ro;
	InitPeer	peers[INIT_PEERS_MAX];	/* the others; with a join file the first is the host that made it */
	int			n_peers;
	bool		make_ca;
	bool		request;		/* a certificate request for the site's own authority */
	bool		no_postgres;
	bool		set_aside;		/* an empty cluster makes room for a standby */
	bool		apply;
	bool		start;
	bool		force;
	bool		dry_run;
	json_t	   *joined;			/* what the join file says; NULL: none */
} InitOptions;

/* argv[0] is "init". 0; 1: only help was wanted; -1: they cannot be used, which was said on stderr. */
extern int	options_read(InitOptions *options, int argc, char **argv);

#endif							/* PINGPONG_AGENT_INIT_OPTIONS_H */
