/*
 * alloc.c
 *		Memory that is never NULL: out of memory ends the process.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/log.h"

static void *
or_abort(void *memory)
{
	if (!memory)
	{
		log_error("out of memory");
		abort();
	}
	return memory;
}

void *
xalloc(size_t size)
{
	return or_abort(calloc(1, size ? size : 1));
}

void *
xrealloc(void *memory, size_t size)
{
	return or_abort(realloc(memory, size ? size : 1));
}

char *
xstrdup(const char *s)
{
	return or_abort(strdup(s));
}

char *
xasprintf(const char *format,...)
{
	va_list		args;
	char	   *text;
	int			n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	return or_abort(n < 0 ? NULL : text);
}
