/*
 * console.c
 *		PgBouncer's admin console: connections, and statements with limits.
 */
#include <stdio.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/pg/pg.h"
#include "agent/route/console.h"

#define RETRY_MS 20

int
admin_timeout_ms(const BouncerConfig *bouncer)
{
	return bouncer->query_timeout_ms > 0 ? bouncer->query_timeout_ms : ADMIN_TIMEOUT_MS;
}

PGconn *
admin_connect(const BouncerConfig *bouncer, char *error, size_t error_size)
{
	return pg_remote(bouncer->admin, NULL, 0, false, error, error_size);
}

PGresult *
admin_query(PGconn *conn, const char *sql, int timeout_ms, char *error, size_t error_size)
{
	double		deadline = clock_monotonic_ms() + timeout_ms;
	PGresult   *res;

	error[0] = '\0';
	pg_set_limit(conn, timeout_ms);
	res = pg_query(conn, error, error_size, sql, 0, NULL);
	if (!res && clock_monotonic_ms() >= deadline)
		snprintf(error, error_size, "PgBouncer does not answer");
	return res;
}

PGresult *
admin_control(Endpoint *endpoint, const BouncerConfig *bouncer, const char *sql, double deadline,
			  char *error, size_t error_size)
{
	for (;;)
	{
		PGresult   *res;

		if (!endpoint->control)
			endpoint->control = admin_connect(bouncer, error, error_size);
		if (endpoint->control)
		{
			double		left = deadline - clock_monotonic_ms();
			int			limit = left > 100 ? (int) left : 100;

			if (limit > admin_timeout_ms(bouncer))
				limit = admin_timeout_ms(bouncer);
			res = admin_query(endpoint->control, sql, limit, error, error_size);
			if (res)
				return res;
			if (PQstatus(endpoint->control) == CONNECTION_OK &&
				PQtransactionStatus(endpoint->control) == PQTRANS_IDLE)
				return NULL;	/* a plain refusal */
			PQfinish(endpoint->control);
			endpoint->control = NULL;
		}
		if (clock_monotonic_ms() + RETRY_MS > deadline)
			return NULL;
		sleep_ms(RETRY_MS);
	}
}

char *
admin_command(const char *verb, const char *database)
{
	return xasprintf("%s \"%s\"", verb, database);
}

const char *
admin_column(PGresult *res, int row, const char *column)
{
	int			number = PQfnumber(res, column);

	return number < 0 || PQgetisnull(res, row, number) ? NULL : PQgetvalue(res, row, number);
}

int
admin_row(PGresult *shown, const char *database)
{
	for (int i = 0; i < PQntuples(shown); i++)
		if (strcmp(PQgetvalue(shown, i, 0), database) == 0)
			return i;
	return -1;
}
