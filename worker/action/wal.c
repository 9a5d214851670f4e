/*
 * wal.c - the action that prepares the WAL of this server for the seal.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"

#include "gate/lag.h"
#include "gate/sealing.h"
#include "worker/action/action.h"
#include "worker/wal.h"

#define NEXT_SEGMENTS	2
#define ALIGN_LARGEST	(64 * 1024 * 1024)

/*
 * wal_align: a promoted server copies the segment in which the old timeline
 * ends, zeros included (16 MB, a third of the blackout). If the seal falls on
 * the end of a segment there is nothing to copy. So the present segment is
 * filled beforehand, while clients still write, and the seal ends it. No XID,
 * nothing to wait for.
 */
static ActionResult
wal_align_advance(Run *run, Step *step)
{
	LagStandby	lag;
	uint64		left = wal_to_segment_end();

	if (wal_segment_size > ALIGN_LARGEST)
	{
		strlcpy(step->message, "not done for so large WAL segments", sizeof(step->message));
		return ACTION_DONE;
	}

	if (left > ALIGN_MARGIN)
	{
		wal_pad((int) Min(left - ALIGN_MARGIN / 2, 1024 * 1024));
		XLogFlush(gate_insert_end());
		return ACTION_WAIT;
	}
	if (run_find_target(run, &lag) && lag.replay + ALIGN_MARGIN / 2 >= GetFlushRecPtr(NULL))
		return ACTION_DONE;
	return ACTION_WAIT;
}

/*
 * The segments after the present one are made before writes stop: it takes time, and a disk that is full would be a
 * PANIC there. Of large segments that would take too long.
 */
static void
make_next_segments(void)
{
	XLogSegNo	present;

	XLByteToSeg(gate_insert_end(), present, wal_segment_size);
	for (int n = 1; n <= NEXT_SEGMENTS && wal_segment_size <= ALIGN_LARGEST; n++)
		close(XLogFileInit(present + n, GetWALInsertionTimeLine()));
}

static ActionResult
wal_align_begin(Run *run, Step *step)
{
	OnFailure	otherwise = step->on_failure;

	step->on_failure = FAIL_UNDO;	/* if that raises an error */
	make_next_segments();
	step->on_failure = otherwise;
	return ACTION_WAIT;
}

const Action wal_actions[] = {
	{"wal_align", wal_align_begin, wal_align_advance},
	{NULL}
};
