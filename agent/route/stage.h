/*
 * stage.h
 *		The version of PgBouncer's file that a run is going to need, made before its blackout.
 */
#ifndef PINGPONG_AGENT_ROUTE_STAGE_H
#define PINGPONG_AGENT_ROUTE_STAGE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/route/bouncerorder.h"

/*
 * The staged version of the file.  stage_make(): for this order and all earlier ones of its run; stage_use(): was it
 * put in place (else it is not for what is asked, or not for this text).  The lock is held.
 */
extern int	stage_make(Order *order, const char *run, const char *text, const char *host, int port, char *why,
					   size_t why_size);
extern bool stage_use(Order *order, const char *text, const char *host, int port);
extern void stage_drop(Endpoint *endpoint, const BouncerConfig *bouncer);

/*
 * The text with all databases of the order pointing to the place, malloc'd; NULL: one of its lines cannot be read
 * (why).
 */
extern char *stage_text(json_t *databases, const char *text, const char *host, int port, char *why, size_t why_size);

#endif							/* PINGPONG_AGENT_ROUTE_STAGE_H */
