/*
 * tls.h
 *		The certificate that the agent shows, and its key. They can be exchanged while it runs.
 */
#ifndef PINGPONG_AGENT_HTTP_TLS_H
#define PINGPONG_AGENT_HTTP_TLS_H

#include <gnutls/abstract.h>

#include "agent/core/config.h"

/*
 * Reads tls_cert and tls_key; handshakes from now on show them.  Again at a reload: then a failure leaves what was
 * there.  0, or -1 with an error without secrets.
 */
extern int	tls_load(const AgentConfig *config, char *error, size_t error_size);

/* For MHD_OPTION_HTTPS_CERT_CALLBACK. */
extern gnutls_certificate_retrieve_function2 tls_certificate;

#endif							/* PINGPONG_AGENT_HTTP_TLS_H */
