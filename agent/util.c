/*
 * util.c
 *		Clocks, memory, strings.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "agent/agent.h"

static double
clock_ms(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return now.tv_sec * 1000.0 + now.tv_nsec / 1e6;
}

double
clock_realtime_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

double
clock_boottime_ms(void)
{
	return clock_ms(CLOCK_BOOTTIME);
}

void
host_boot_id(char *to, size_t size)
{
	FILE	   *file = fopen("/proc/sys/kernel/random/boot_id", "re");

	to[0] = '\0';
	if (!file)
		return;
	if (fgets(to, (int) size, file))
		to[strcspn(to, "\n")] = '\0';
	fclose(file);
}

double
clock_monotonic_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

void
sleep_ms(int ms)
{
	struct timespec left = {ms / 1000, (long) (ms % 1000) * 1000000};

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

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
