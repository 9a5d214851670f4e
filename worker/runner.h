/*
 * runner.h - executes a run: which phase it is in.
 *
 * A phase is a file of phase/ (phase.h). It tells facts, and the table of transition.c says whether the run stays in
 * the phase and what to do, or which phase is next.
 */
#ifndef PINGPONG_RUNNER_H
#define PINGPONG_RUNNER_H

#include "worker/run.h"

extern void runner_startup(void);
extern bool runner_busy(void);

/* Whether a caller that asks now shall wait a moment and not be refused. */
extern bool runner_gives_way(void);

/* A backend asks for something; nothing else is being done. */
extern void runner_request(RequestKind kind, const char *target, const char *options, const char *requested_by);

/* A run that no session has asked for: the worker's own. `asks`: agents are asked for their facts before. */
extern void runner_start_own(const char *runbook, bool asks);

/* A backend asks for something while a run is going on. */
extern void runner_reject(void);

/* A backend asks for what this server cannot begin, because it is a standby, or is none. */
extern void runner_refuse(const char *why);

/* Moves the run as far as it goes without waiting; gives the longest nap in ms. */
extern long runner_advance(void);

/* Is there a run that is ours to go on with or to undo? False: look again. */
extern bool runner_recover(void);

/* It raised an error. */
extern void runner_error(const ErrorData *error);

#endif
