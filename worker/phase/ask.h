/*
 * ask.h - RUN_ASKING: promote was ordered, and the answer is missing.
 */
#ifndef PINGPONG_PHASE_ASK_H
#define PINGPONG_PHASE_ASK_H

#include "worker/run.h"

/* Begins to ask. */
extern long ask_begin(void);
extern long ask_advance(void);

/* The target was not promoted, and will not be: the run is undone. */
extern void ask_burned(void);

/*
 * An operator has removed the seal while the run went on: it is undone, and the order is not given again. True, with
 * the sentence, if so.
 */
extern bool ask_overruled(void);

#endif
