/*
 * finish.h - how a run ends: its row, its sentence, the answer to the caller.
 */
#ifndef PINGPONG_FINISH_H
#define PINGPONG_FINISH_H

#include "worker/run.h"

/*
 * Ends the run and forgets it: `run` is NULL behind it. ERROR if its row cannot be written; the caller has his
 * answer.
 */
extern void finish(RunPhase end);

/* A run that was stored and cannot be worked on. Does not throw; the worker ends if even that cannot be stored. */
extern void finish_give_up(const ErrorData *error);

#endif
