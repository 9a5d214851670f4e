/*
 * floating.h
 *		What the driver "address" does to a host: in the agent, or by "pingpong-agent address VERB DEVICE
 *		ADDRESS/PREFIX [MS]", which can be run with more rights than the agent has: CAP_NET_ADMIN and CAP_NET_RAW.
 *
 *		look		"own", "other MAC" or "free"; after "own" also " other MAC" where somebody else answers for it
 *		take		waits until nobody else answers for MS, adds it, announces it
 *		drop		answers for it no more; its connections can still say goodbye
 *		farewell	after drop, or take: what is left of that, and further announcements; takes a second or more
 *
 * All may be done twice.
 */
#ifndef PINGPONG_AGENT_ROUTE_FLOATING_H
#define PINGPONG_AGENT_ROUTE_FLOATING_H

#include <stddef.h>

#include "agent/route/link.h"

/* 0, or -1; said: what there is to say of it, or why it could not be done. */
extern int	floating_do(const char *verb, const LinkAddress *address, int silence_ms, char *said, size_t size);

/* The program; argv[0] is "address". Returns the exit status: 0 done, 1 not, 2 arguments. */
extern int	floating_run(int argc, char **argv);

#endif							/* PINGPONG_AGENT_ROUTE_FLOATING_H */
