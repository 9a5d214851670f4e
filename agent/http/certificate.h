/*
 * certificate.h
 *		Certificates: which of them may control the agent, and what --check looks at.
 */
#ifndef PINGPONG_AGENT_HTTP_CERTIFICATE_H
#define PINGPONG_AGENT_HTTP_CERTIFICATE_H

#include <stdbool.h>
#include <time.h>

#include <gnutls/gnutls.h>

#include "agent/core/config.h"

typedef enum ClientVerdict
{
	CLIENT_NONE,				/* there is no certificate */
	CLIENT_UNSIGNED,			/* not of our CA, expired, not yet valid, revoked */
	CLIENT_NOT_FOR_CLIENTS,		/* its extended key usage does not have clientAuth */
	CLIENT_OURSELVES,			/* the agent's own key, not named in tls_client_names */
	CLIENT_NOT_NAMED,			/* tls_client_names does not have it */
	CLIENT_ACCEPTED
} ClientVerdict;

/*
 * May the peer of this session control the agent? Its certificate must be of the CA that the session trusts, valid
 * now and, if it has an extended key usage, be for client authentication: a server's is not accepted as a
 * controller's.
 */
extern ClientVerdict certificate_client(gnutls_session_t session, const AgentConfig *config);

/* The verdict as the end of a sentence about "the certificate". */
extern const char *certificate_verdict_text(ClientVerdict verdict);

/* What can be said about a file of certificates. */
typedef struct CertificateFacts
{
	int			count;			/* certificates in the file */
	time_t		begins;			/* of the first */
	time_t		ends;
	bool		for_servers;	/* the first has no extended key usage, or serverAuth */
	bool		for_clients;
	bool		has_usage;		/* an extended key usage */
	bool		authority;		/* may sign others */
} CertificateFacts;

/* Reads a file of certificates; 0, or -1 with an error without secrets. */
extern int	certificate_facts(const char *path, CertificateFacts *facts, char *error, size_t error_size);

/* Is this the key of the (first) certificate?  0, or -1 with an error without secrets. */
extern int	certificate_fits_key(const char *cert_path, const char *key_path, char *error, size_t error_size);

/*
 * Would the agent's own certificate, with another key, be accepted as a controller's? False also when a file cannot
 * be read.
 */
extern bool certificate_serves_as_client(const AgentConfig *config);

/* Has the peer of this session the key of the (first) certificate of that file? False also if that is not known. */
extern bool certificate_peer_is(gnutls_session_t session, const char *path);

#endif							/* PINGPONG_AGENT_HTTP_CERTIFICATE_H */
