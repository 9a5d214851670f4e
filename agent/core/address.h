/*
 * address.h
 *		The address to listen on, as the configuration writes it.
 */
#ifndef PINGPONG_AGENT_CORE_ADDRESS_H
#define PINGPONG_AGENT_CORE_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

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

#endif							/* PINGPONG_AGENT_CORE_ADDRESS_H */
