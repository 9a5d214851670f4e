/*
 * clock.c - the clock of the gate, and what a function that waits needs of it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/timestamp.h"

#include "gate/clock.h"
#include "pg_compat.h"

#define POLL_MS			1

int64
gate_clock(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/* Between two looks: a millisecond, and the place where Ctrl-C arrives. */
void
gate_nap(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 POLL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

int64
gate_interval_ms(const Interval *interval, const char *argument)
{
	int64		days = (int64) interval->day + (int64) interval->month * DAYS_PER_MONTH;
	int64		ms = interval->time / 1000 + days * SECS_PER_DAY * 1000;

	if (ms < 0 || ms > (int64) 366 * SECS_PER_DAY * 1000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" must be between zero and one year", argument)));
	return ms;
}
