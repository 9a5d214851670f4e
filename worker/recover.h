/*
 * recover.h - what a predecessor left running.
 */
#ifndef PINGPONG_WORKER_RECOVER_H
#define PINGPONG_WORKER_RECOVER_H

#include "worker/run.h"

/* Is there a run that is ours to go on with or to undo? False: look again. */
extern bool recover_look(void);

/* It raised an error: tried again after a pause, not for ever. */
extern void recover_failed(const ErrorData *error);

#endif
