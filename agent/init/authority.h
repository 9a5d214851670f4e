/*
 * authority.h
 *		Keys and certificates of the agents, as PEM: a site's authority, what it signs, and requests to another one.
 */
#ifndef PINGPONG_AGENT_INIT_AUTHORITY_H
#define PINGPONG_AGENT_INIT_AUTHORITY_H

#include <stddef.h>

/* Whose certificate it is. */
typedef struct CertificateName
{
	const char *node;
	const char *host;			/* a name or an address: what the worker connects to */
} CertificateName;

/* All return 0 with malloc'd PEM, or -1 with error. */
extern int	authority_make(char **cert, char **key, char *error, size_t error_size);
extern int	authority_sign(const char *ca_cert, const char *ca_key, const CertificateName *name, char **cert,
						   char **key, char *error, size_t error_size);
extern int	authority_request(const CertificateName *name, char **request, char **key, char *error,
							  size_t error_size);

/* Random letters and digits, malloc'd: a token, a password. */
extern char *authority_secret(void);

#endif							/* PINGPONG_AGENT_INIT_AUTHORITY_H */
