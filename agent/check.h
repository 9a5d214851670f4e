/*
 * check.h
 *		--check: lines that say what was found, and the parts of it.
 */
#ifndef PINGPONG_AGENT_CHECK_H
#define PINGPONG_AGENT_CHECK_H

#include "agent/core/config.h"

/* --check; returns the exit status. */
extern int	check_run(const char *path);

/*
 * One line.  "ok" is what was tried or looked at; what could not be proved, or is likely to hurt, is "warn"; "FAIL" will
 * not work.
 */
extern void check_say(bool ok, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void check_warn(const char *format,...) __attribute__((format(printf, 1, 2)));

/* Opens a file as the agent would: says it when that fails; what: the option that names it. */
extern bool check_readable(const char *what, const char *path);

/* A connection string of an option: the files that it names. */
extern void check_conninfo(const char *what, const char *conninfo);

extern void check_tls(const AgentConfig *config);	/* checktls.c */
extern void check_postgres(const AgentConfig *config);	/* checkpg.c */

#endif							/* PINGPONG_AGENT_CHECK_H */
