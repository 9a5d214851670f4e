/*
 * finish.h - how a run ends.
 *
 * finish_run() and what calls it forget the run: `run` is NULL behind it.
 */
#ifndef PINGPONG_FINISH_H
#define PINGPONG_FINISH_H

#include "worker/run.h"

/* With a row that says how: "succeeded", "rolled_back", "stuck". ERROR if it cannot be written; the caller has his answer. */
extern void finish_run(const char *state);

/* The first failure that an operator has to mend; NULL: none. And the end with it. */
extern Step *finish_find_stuck(void);
extern void finish_stuck(Step *failed);

/* The target was promoted, and this server takes writes. */
extern void finish_opened_behind(void);

/* The run ends with this step: its caller is told in the step's words. */
extern void finish_blame(Step *failed);

/* A run that was stored and cannot be worked on. Does not throw; the worker ends if even that cannot be stored. */
extern void finish_give_up(const ErrorData *error);

#endif
