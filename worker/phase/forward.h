/*
 * forward.h - RUN_FORWARD: group by group.
 */
#ifndef PINGPONG_PHASE_FORWARD_H
#define PINGPONG_PHASE_FORWARD_H

#include "worker/run.h"

extern long forward_advance(void);

#endif
