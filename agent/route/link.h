/*
 * link.h
 *		A floating address on the network that a device is attached to: who has it, and telling all that it is here.
 *
 * The packets are made here: the usual programs wait for whole seconds. They need CAP_NET_RAW.
 */
#ifndef PINGPONG_AGENT_ROUTE_LINK_H
#define PINGPONG_AGENT_ROUTE_LINK_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

#define LINK_LOOPBACK "lo"

typedef struct LinkAddress
{
	char		device[16];		/* its interface */
	int			prefix;
	char		text[INET6_ADDRSTRLEN];
	int			family;			/* AF_INET, AF_INET6 */
	struct in_addr ip4;
	struct in6_addr ip6;
} LinkAddress;

/* ADDRESS/PREFIX; false: it is none */
extern bool link_parse(const char *device, const char *cidr, LinkAddress *address);

/* Does the device have it?  -1 with errno: nobody knows. */
extern int	link_has(const LinkAddress *address);

/*
 * Asks the network, and waits for an answer of somebody else (its hardware address goes to who, 18 bytes). 1:
 * somebody has it; 0: there was silence for so long; -1 with errno.
 */
extern int	link_ask(const LinkAddress *address, int silence_ms, char *who);

/* Tells the network that the address is here.  0, or -1 with errno. */
extern int	link_announce(const LinkAddress *address);

#endif							/* PINGPONG_AGENT_ROUTE_LINK_H */
