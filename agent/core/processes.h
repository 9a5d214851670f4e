/*
 * processes.h
 *		Ending processes that nobody waits for any more.
 */
#ifndef PINGPONG_AGENT_CORE_PROCESSES_H
#define PINGPONG_AGENT_CORE_PROCESSES_H

#include <stdbool.h>
#include <sys/types.h>

/* Is it one of them? Asked twice: a number may become another process's in between. */
typedef bool (*ProcessTest) (pid_t pid, const void *argument);

/* Does the name of its program begin with one of these? The list ends with NULL. */
extern bool process_is_named(pid_t pid, const char *const *names);

/*
 * Ends with SIGKILL each process that the test says yes to, except this one, and waits for its end, limit_ms each.
 * False: one did not go, or the processes cannot be listed. `what` is for the log.
 */
extern bool processes_end(ProcessTest test, const void *argument, int limit_ms, const char *what);

#endif							/* PINGPONG_AGENT_CORE_PROCESSES_H */
