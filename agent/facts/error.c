/*
 * error.c
 *		The answer for a part that could not be looked at.
 */
#include <stdarg.h>
#include <stdio.h>

#include "agent/facts/error.h"

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
