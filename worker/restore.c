/*
 * restore.c - what the idle worker does by itself: it restores what earlier runs relaxed, when that is possible.
 */
#include "postgres.h"

#include "gate/state.h"
#include "worker/clock.h"
#include "worker/relaxation.h"
#include "worker/restore.h"
#include "worker/runner.h"

#define LOOK_US			(5 * 1000 * 1000)
#define LOOK_LONGEST_US	(600 * INT64CONST(1000000))

static int64 look_at;			/* now_us() */
static int64 pause_us = LOOK_US;

/* Begins a run when there is something to restore. Twice as long from one to the next: what failed may fail again. */
void
restore_if_due(void)
{
	if (now_us() < look_at || gate_state() != GATE_OPEN)
		return;
	look_at = now_us() + pause_us;	/* also if this raises an error */
	if (!relaxation_due())
	{
		pause_us = LOOK_US;
		return;
	}
	pause_us = Min(2 * pause_us, LOOK_LONGEST_US);
	runner_start_own("restore", true);
}
