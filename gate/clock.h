/*
 * clock.h - the clock of the gate, and waiting by it.
 */
#ifndef PINGPONG_GATE_CLOCK_H
#define PINGPONG_GATE_CLOCK_H

#include "datatype/timestamp.h"

/*
 * Microseconds of a clock that nobody sets, the same in all processes of the
 * host: for whatever must end in time.
 */
extern int64 gate_clock(void);

/* Between two looks of a session that waits: a millisecond, then interrupts. */
extern void gate_nap(void);

/* The length of an interval argument of a SQL function, ERROR if it is negative or over a year. */
extern int64 gate_interval_ms(const Interval *interval, const char *argument);

#endif
