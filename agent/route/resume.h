/*
 * resume.h
 *		RESUME of databases, and RELOAD in the same write.
 */
#ifndef PINGPONG_AGENT_ROUTE_RESUME_H
#define PINGPONG_AGENT_ROUTE_RESUME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/route/endpoint.h"

/*
 * RESUME of each database, with `reload` after a RELOAD; a database that is not paused is fine. *refusal: what
 * PgBouncer said to the RELOAD, "" for nothing. The lock is held.
 */
extern int	admin_resume(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, bool reload,
						 double deadline, char *refusal, size_t refusal_size, char *error, size_t error_size);

#endif							/* PINGPONG_AGENT_ROUTE_RESUME_H */
