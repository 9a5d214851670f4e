/*
 * say.h
 *		The output of --check: one line for each thing.
 */
#ifndef PINGPONG_AGENT_CHECK_SAY_H
#define PINGPONG_AGENT_CHECK_SAY_H

#include <stdbool.h>

/*
 * One line. "ok" is what was tried or looked at; what could not be proved, or is likely to hurt, is "warn"; "FAIL"
 * will not work.
 */
extern void check_say(bool ok, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void check_warn(const char *format,...) __attribute__((format(printf, 1, 2)));

/* What the lines from here on are about is named in front of each: one section of several alike; NULL: nothing. */
extern void check_about(const char *section);

/* Opens a file as the agent would: says it when that fails; what: the option that names it. */
extern bool check_readable(const char *what, const char *path);

extern int	check_failures;		/* lines with "FAIL" */

#endif							/* PINGPONG_AGENT_CHECK_SAY_H */
