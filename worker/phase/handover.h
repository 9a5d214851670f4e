/*
 * handover.h - the end of the old primary's part, and what it leaves for the new one.
 */
#ifndef PINGPONG_PHASE_HANDOVER_H
#define PINGPONG_PHASE_HANDOVER_H

#include "worker/run.h"

/* On the old primary: its part is over. Called again until `run` is NULL. */
extern void handover_leave(void);

/* On the target: the old primary's measurement, if it has reached our agent. True when asked. */
extern bool handover_fetch(void);

#endif
