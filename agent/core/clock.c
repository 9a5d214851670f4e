/*
 * clock.c
 *		Clocks, and a name for the present boot of the host.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/core/clock.h"

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

double
clock_earlier(double a, double b)
{
	return a < b ? a : b;
}
