/*
 * runner.h - the state machine of a run: which phase it is in, and its function.
 *
 *   phase/gather.c    RUN_GATHERING     facts, preflight, then the run is stored
 *   phase/forward.c   RUN_FORWARD       group by group
 *   phase/undo.c      RUN_UNDOING       the way back
 *   phase/ask.c       RUN_ASKING        promote was ordered, the answer is missing
 *   phase/takeover.c  RUN_TAKING_OVER   on the target, after its promotion
 *   recover.c                           which of them a run that was found begins with
 *
 * A phase's function moves as far as it can without waiting and gives the
 * longest nap in ms.
 */
#ifndef PINGPONG_RUNNER_H
#define PINGPONG_RUNNER_H

#include "worker/run.h"

extern void runner_startup(void);
extern bool runner_busy(void);

/* Whether who asks for something now shall wait a moment rather than be refused. */
extern bool runner_gives_way(void);

/* A backend asks for something; nothing else is being done. */
extern void runner_request(RequestKind kind, const char *target, const char *options, const char *requested_by);

/* A run that nobody has asked for: the worker's own. */
extern void runner_start_own(const char *runbook);

/* A backend asks for something while a run is going on. */
extern void runner_reject(void);

/* Moves the run as far as it goes without waiting; gives the longest nap in ms. */
extern long runner_advance(void);

/* It raised an error. */
extern void runner_error(const ErrorData *error);

#endif
