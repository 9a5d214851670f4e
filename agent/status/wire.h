/*
 * wire.h
 *		A connection to the agent of this host, plain or with TLS; every step ends with its deadline.
 */
#ifndef PINGPONG_AGENT_STATUS_WIRE_H
#define PINGPONG_AGENT_STATUS_WIRE_H

#include <gnutls/gnutls.h>

#include "agent/core/config.h"
#include "agent/core/text.h"

typedef struct Wire
{
	int			fd;				/* -1: not connected */
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t tls;		/* NULL: plain */
	double		deadline;		/* CLOCK_MONOTONIC, ms */
} Wire;

/* Connects to "listen". 0, or -1 with errno: ECONNREFUSED or ENOENT if nobody listens there. */
extern int	wire_connect(Wire *wire, const AgentConfig *config, double deadline);

/*
 * Shakes hands, if the agent has TLS: with the holder of the key of "tls_cert", and nobody else. 0, or -1 with an
 * error.
 */
extern int	wire_secure(Wire *wire, const AgentConfig *config, char *error, size_t error_size);

/* 0, or -1 with an error. */
extern int	wire_send(Wire *wire, const char *data, size_t size, char *error, size_t error_size);

/* All that comes until the other side closes; more than `limit` bytes are an error. 0, or -1 with an error. */
extern int	wire_receive(Wire *wire, Text *text, size_t limit, char *error, size_t error_size);

extern void wire_close(Wire *wire);

#endif							/* PINGPONG_AGENT_STATUS_WIRE_H */
