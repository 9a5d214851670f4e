/*
 * blackout.h - the measurement of a blackout.
 */
#ifndef PINGPONG_BLACKOUT_H
#define PINGPONG_BLACKOUT_H

#include "worker/run.h"

/* Milliseconds since writes stopped, 0 if they have not. */
extern double run_blackout_so_far(Run *run);

/* What was done while writes were stopped, in ms after the beginning of that; for the worker that cannot know it. */
extern json_t *blackout_steps(Run *run);

/* The other worker's steps of the blackout, also those after its last entry in the journal. */
extern void blackout_take_steps(json_t *timeline);

/* On the target: the old primary's measurement, if it has reached our agent. True when asked. */
extern bool blackout_fetch(void);

#endif
