/*
 * step.h - a step of a run.
 */
#ifndef PINGPONG_STEP_H
#define PINGPONG_STEP_H

#include "worker/run.h"

/* Begins it, or looks at it. */
extern void step_move(Step *step);

/* It failed, or its time is up: tried again if it may be. */
extern void step_failed(Step *step);

/* The operator gives it up: it is not tried again, its agent is told. */
extern void step_give_up(Step *step);

/* Of an endpoint that does not follow: the run goes on without it. */
extern void step_leave_pending(Step *step);

#endif
