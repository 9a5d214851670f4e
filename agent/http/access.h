/*
 * access.h
 *		Which clients may call: by token, or by certificate.
 */
#ifndef PINGPONG_AGENT_HTTP_ACCESS_H
#define PINGPONG_AGENT_HTTP_ACCESS_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum RouteAccess
{
	ACCESS_DENIED,
	ACCESS_ANYONE,				/* no credentials: for all that reach the address */
	ACCESS_MONITOR,				/* "monitor_token_file"; controllers, too */
	ACCESS_METRICS,				/* these two as ACCESS_MONITOR, or as ACCESS_ANYONE by "without_credentials" */
	ACCESS_PAGE,
	ACCESS_CONTROLLER
} RouteAccess;

/* Contents of "tls_client_ca", NULL: none; libmicrohttpd does not copy them.  Set before the server is started. */
extern char *access_client_ca;

/* What such a route needs by the present configuration: one of the others. */
extern RouteAccess access_needed(RouteAccess access);

/* May this connection's client use such a route?  If not, why says what is missing. */
extern bool access_allowed(struct MHD_Connection *connection, RouteAccess access, char *why, size_t why_size);

/* Are they equal? The time taken does not tell how much of them is. */
extern bool token_equal(const char *given, const char *expected);

#endif							/* PINGPONG_AGENT_HTTP_ACCESS_H */
