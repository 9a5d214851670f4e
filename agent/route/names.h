/*
 * names.h
 *		The addresses of hosts, kept for some minutes: a name service that does not answer must not hold up a commit.
 */
#ifndef PINGPONG_AGENT_ROUTE_NAMES_H
#define PINGPONG_AGENT_ROUTE_NAMES_H

#include <netinet/in.h>
#include <stdbool.h>

#define RESOLVED_MAX 8

typedef struct Resolved
{
	char	   *host;			/* names.c's own */
	double		at;				/* monotonic */
	int			n;				/* 0: it has no address, or nobody knows */
	char		addresses[RESOLVED_MAX][INET6_ADDRSTRLEN];
} Resolved;

/* The addresses of a host, as numbers; fresh: as the name service says now. */
extern Resolved addresses_of(const char *host, bool fresh);
extern bool has_address(const Resolved *host, const char *address);

#endif							/* PINGPONG_AGENT_ROUTE_NAMES_H */
