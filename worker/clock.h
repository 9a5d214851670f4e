/*
 * clock.h - the worker's timers, in microseconds of a clock that nobody can set back.
 *
 * TimestampTz is for what people read. With it, a wall clock that is set back by an hour would make a sealed primary
 * ask an hour later.
 */
#ifndef PINGPONG_CLOCK_H
#define PINGPONG_CLOCK_H

#include "portability/instr_time.h"

static inline int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

static inline double
ms_since(instr_time then)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, then);
	return INSTR_TIME_GET_MILLISEC(now);
}

#endif
