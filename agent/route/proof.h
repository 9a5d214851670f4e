/*
 * proof.h
 *		What PgBouncer says of itself: where databases point, and whether it reads our file.  Errors in one line.
 */
#ifndef PINGPONG_AGENT_ROUTE_PROOF_H
#define PINGPONG_AGENT_ROUTE_PROOF_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/route/endpoint.h"

/* Do all databases point to host:port, and to the database that their settings name?  `shown` is SHOW DATABASES. */
extern int	proof_leads(PGresult *shown, json_t *databases, const char *host, int port, char *why, size_t why_size);

/*
 * Is the file one that PgBouncer reads, and does RELOAD take effect? Tried: a database without a real server is
 * written to the file, looked for, and taken out again. `text` gets the file without it, malloc'd. 0: so it is; 1: it
 * is not; -1: it could not be tried. The lock is held.
 */
extern int	proof_try(Endpoint *endpoint, const BouncerConfig *bouncer, double deadline, char **text, char *why,
					  size_t why_size);

/* Takes out of the file what a proof that was cut off has left there. */
extern int	proof_clean(const BouncerConfig *bouncer, char *why, size_t why_size);

#endif							/* PINGPONG_AGENT_ROUTE_PROOF_H */
