/*
 * say.c
 *		The output of pingpong-agent init: one line for each thing.
 */
#include <stdarg.h>
#include <stdio.h>

#include "agent/init/say.h"

int			init_failures;
int			init_todos;

static const char *const words[] = {"ok", "made", "would", "todo", "FAIL"};

void
init_say(InitWord word, const char *format,...)
{
	va_list		args;

	init_failures += word == INIT_FAIL;
	init_todos += word == INIT_TODO;
	printf("%-5s ", words[word]);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

void
init_more(const char *format,...)
{
	va_list		args;

	printf("          ");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

void
init_title(const char *title)
{
	printf("\n%s\n", title);
}
