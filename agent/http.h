/*
 * http.h
 *		The HTTP front: where it listens, starting and stopping it.
 */
#ifndef PINGPONG_AGENT_HTTP_H
#define PINGPONG_AGENT_HTTP_H

#include <stdbool.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "agent/agent.h"

typedef struct ListenAddress
{
	bool		local;			/* loopback or a unix socket */
	socklen_t	size;
	union
	{
		struct sockaddr any;
		struct sockaddr_in ip4;
		struct sockaddr_in6 ip6;
		struct sockaddr_un unix_;
	}			address;
} ListenAddress;

/* "127.0.0.1:8700", "[::1]:8700", "localhost:8700", "unix:/path"; 0, or -1 */
extern int	listen_parse(const char *text, ListenAddress *address);

/* A listening socket, or -1 with errno; replaces a unix socket that nobody serves any more. */
extern int	listen_open(const ListenAddress *address);

/* Starts serving; 0, or -1 with a message in error. */
extern int	http_start(char *error, size_t error_size);
extern void http_stop(void);

/* Takes over what a new configuration may change while the agent runs; 0, or -1 with a message: nothing is changed. */
extern int	http_reload(const AgentConfig *old, const AgentConfig *config, char *error, size_t error_size);

/* Equal without telling by the time taken how much of it is. */
extern bool token_equal(const char *given, const char *expected);

#endif							/* PINGPONG_AGENT_HTTP_H */
