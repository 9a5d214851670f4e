/*
 * site.h
 *		What all hosts of an installation share, and what this one has of its own: token, passwords, certificates.
 */
#ifndef PINGPONG_AGENT_INIT_SITE_H
#define PINGPONG_AGENT_INIT_SITE_H

#include "agent/init/host.h"

#define REPLICATION_ROLE "pingpong_replicator"
#define REWIND_ROLE "pingpong_rewinder"

/* Of a host without PostgreSQL the passwords are NULL. */
typedef struct InitSite
{
	char	   *token;
	char	   *replication_password;
	char	   *rewind_password;
	char	   *ca;				/* PEM; NULL: not known yet */
	char	   *ca_key;			/* NULL: not on this host */
	bool		has_certificate;
} InitSite;

/* A file in the folder of the configuration, malloc'd. */
extern char *site_path(const InitOptions *options, const char *name);

/* Folders, token, passwords, authority, certificate: what is there is used, the rest is made.  0 or -1, said. */
extern int	site_make(InitSite *site, const InitHost *host, const InitOptions *options);

/* The files for the other hosts (join/NODE.json): each holds all that --join needs, secrets as well. */
extern int	site_write_joins(const InitSite *site, const InitHost *host, const InitOptions *options);

#endif							/* PINGPONG_AGENT_INIT_SITE_H */
