/*
 * console.h
 *		PgBouncer's admin console: connections, and statements with limits.
 */
#ifndef PINGPONG_AGENT_ROUTE_CONSOLE_H
#define PINGPONG_AGENT_ROUTE_CONSOLE_H

#include <libpq-fe.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/route/endpoint.h"

#define ADMIN_TIMEOUT_MS 5000	/* "query_timeout_ms" of the endpoint, where that is not set */

/* How long a console may take for an answer */
extern int	admin_timeout_ms(const BouncerConfig *bouncer);

/* Opens an admin connection; NULL with error set. */
extern PGconn *admin_connect(const BouncerConfig *bouncer, char *error, size_t error_size);

/* A statement on the console with a limit; NULL with error set.  The connection is useless after a time-out. */
extern PGresult *admin_query(PGconn *conn, const char *sql, int timeout_ms, char *error, size_t error_size);

/* The same on the control connection, reconnecting until the deadline (monotonic).  The lock is held. */
extern PGresult *admin_control(Endpoint *endpoint, const BouncerConfig *bouncer, const char *sql, double deadline,
							   char *error, size_t error_size);

/* PAUSE "name" or RESUME "name", malloc'd */
extern char *admin_command(const char *verb, const char *database);

/*
 * Of SHOW DATABASES and the like: the row of a database, or -1; a column of it, or NULL (also where this version has
 * no such column).
 */
extern int	admin_row(PGresult *shown, const char *database);
extern const char *admin_column(PGresult *res, int row, const char *column);

#endif							/* PINGPONG_AGENT_ROUTE_CONSOLE_H */
