/*
 * error.c
 *		The answer for a part that could not be looked at.
 */
#include <stdarg.h>
#include <stdio.h>

#include "agent/facts/error.h"
#include "agent/pg/pg.h"

json_t *
facts_error(const char *format,...)
{
	char		message[512];
	va_list		args;
	json_t	   *text;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	return json_pack("{s:o}", "error", text ? text : json_string("the error is not valid UTF-8"));
}

json_t *
facts_ask(PGconn *conn, const char *sql)
{
	char		error[512];
	PGresult   *res = pg_query(conn, error, sizeof(error), sql, 0, NULL);
	json_t	   *value = NULL;

	if (!res)
		return facts_error("%s", error);
	if (PQntuples(res) == 1 && !PQgetisnull(res, 0, 0))
		value = json_loads(PQgetvalue(res, 0, 0), JSON_DECODE_ANY, NULL);
	PQclear(res);
	return value ? value : facts_error("no answer");
}
