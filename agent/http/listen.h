/*
 * listen.h
 *		The socket that the agent listens on.
 */
#ifndef PINGPONG_AGENT_HTTP_LISTEN_H
#define PINGPONG_AGENT_HTTP_LISTEN_H

#include "agent/core/address.h"

/* A listening socket, or -1 with errno; replaces a unix socket that no process serves any more. */
extern int	listen_open(const ListenAddress *address);

#endif							/* PINGPONG_AGENT_HTTP_LISTEN_H */
