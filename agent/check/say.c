/*
 * say.c
 *		The output of --check: one line for each thing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/check/say.h"

int			check_failures;
static const char *about;

void
check_about(const char *section)
{
	about = section;
}

static void
say(const char *word, const char *format, va_list args)
{
	printf("%-4s ", word);
	if (about)
		printf("[%s] ", about);
	vprintf(format, args);
	printf("\n");
}

void
check_say(bool ok, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	say(ok ? "ok" : "FAIL", format, args);
	va_end(args);
	check_failures += !ok;
}

void
check_warn(const char *format,...)
{
	va_list		args;

	va_start(args, format);
	say("warn", format, args);
	va_end(args);
}

bool
check_readable(const char *what, const char *path)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		check_say(false, "%s %s cannot be read: %s", what, path, strerror(errno));
	else
		close(fd);
	return fd >= 0;
}
