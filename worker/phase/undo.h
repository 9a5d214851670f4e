/*
 * undo.h - RUN_UNDOING: the way back of a run.
 */
#ifndef PINGPONG_PHASE_UNDO_H
#define PINGPONG_PHASE_UNDO_H

#include "worker/run.h"

extern void undo_start(void);
extern long undo_advance(void);

#endif
