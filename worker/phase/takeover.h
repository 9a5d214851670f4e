/*
 * takeover.h - RUN_TAKING_OVER: on the target, after its promotion.
 */
#ifndef PINGPONG_PHASE_TAKEOVER_H
#define PINGPONG_PHASE_TAKEOVER_H

#include "worker/run.h"

extern long takeover_advance(void);

#endif
