/*
 * log.c
 *		The agent's log: lines on stderr, which systemd or a redirect keeps.
 */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "agent/core/log.h"

static int	max_level = LOG_LEVEL_INFO;

void
log_set_level(int level)
{
	max_level = level;
}

/* One write() a line: threads do not mix their lines, and nothing is buffered at a crash. */
void
log_line(int level, const char *format,...)
{
	static const char *const names[] = {"ERROR", "WARNING", "INFO", "DEBUG"};
	char		line[1024];
	struct timespec now;
	struct tm	tm;
	va_list		args;
	size_t		len;
	int			n;

	if (level > max_level)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(line, sizeof(line), "%Y-%m-%d %H:%M:%S", &tm);
	len += snprintf(line + len, sizeof(line) - len, ".%03ld UTC [%d] %s: ",
					now.tv_nsec / 1000000, (int) getpid(), names[level]);
	va_start(args, format);
	n = vsnprintf(line + len, sizeof(line) - len - 1, format, args);
	va_end(args);
	if (n > 0)
		len += (size_t) n < sizeof(line) - len - 1 ? (size_t) n : sizeof(line) - len - 2;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char) line[i] < ' ')
			line[i] = ' ';		/* what a peer sent must not forge a line */
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return;					/* nobody left to tell */
}
