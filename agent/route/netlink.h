/*
 * netlink.h
 *		Addresses of devices and TCP connections, by the kernel's own messages: a program for each would take longer
 *		than all the rest of a move.
 *
 * All return 0, or -1 with errno. They need CAP_NET_ADMIN.
 */
#ifndef PINGPONG_AGENT_ROUTE_NETLINK_H
#define PINGPONG_AGENT_ROUTE_NETLINK_H

#include <stdbool.h>

#include "agent/route/link.h"

/* On a device by its name; for this host alone where prefix is 32 (128).  What is there, or gone, already is fine. */
extern int	netlink_add(const LinkAddress *address, const char *device, int prefix);
extern int	netlink_delete(const LinkAddress *address, const char *device, int prefix);

/* Ends all TCP connections of this host with that address as their own: their clients get a reset. */
extern int	netlink_end_connections(const LinkAddress *address);

#endif							/* PINGPONG_AGENT_ROUTE_NETLINK_H */
