/*
 * gather.h - RUN_GATHERING: facts, preflight, then the run is stored.
 */
#ifndef PINGPONG_PHASE_GATHER_H
#define PINGPONG_PHASE_GATHER_H

#include "worker/run.h"

extern void gather_start(void);
extern long gather_advance(void);

#endif
