/*
 * wal.c - WAL without content, and the process that writes WAL out.
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xloginsert.h"
#include "catalog/pg_control.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include "gate/sealing.h"
#include "pg_compat.h"
#include "worker/clock.h"
#include "worker/wal.h"

#define PADDING_PIECE	(64 * 1024)

uint64
wal_to_segment_end(void)
{
	return wal_segment_size - XLogSegmentOffset(gate_insert_end(), wal_segment_size);
}

/*
 * WAL that says nothing to anybody: replay and logical decoding pass over no-op
 * records. (Messages of pg_logical_emit_message() are delivered by decoding
 * plugins.) Unimportant: they call for no checkpoint and no list of running
 * transactions. In pieces, as an insert keeps others from theirs.
 */
void
wal_pad(int bytes)
{
	char	   *nothing = palloc0(PADDING_PIECE);

	for (int left = bytes; left > 0; left -= PADDING_PIECE)
	{
		XLogBeginInsert();
		XLogRegisterData(nothing, Min(left, PADDING_PIECE));
		XLogSetRecordFlags(XLOG_MARK_UNIMPORTANT);
		XLogInsert(RM_XLOG_ID, XLOG_NOOP);
	}
	pfree(nothing);
}

static void
wake_walwriter(void)
{
	Latch	   *latch = compat_walwriter_latch();

	if (latch != NULL)
		SetLatch(latch);
}

/*
 * A WAL writer that has gone to hibernate is woken by every reader that wrote
 * a hint bit, and flushes it, whatever its delay. It forgets hibernation in
 * the round after one with work: so give it work, and one more round.
 */
ActionResult
wal_calm_writer(Step *step)
{
	switch (step->phase)
	{
		case 0:
			wal_pad(3 * XLOG_BLCKSZ);
			step->lsn = gate_insert_end() - 2 * XLOG_BLCKSZ;
			wake_walwriter();
			step->phase = 1;
			return ACTION_WAIT;
		case 1:
			if (GetFlushRecPtr(NULL) < step->lsn && ms_since(step->clock) < 1000)
				return ACTION_WAIT;
			wake_walwriter();
			step->phase = 2;
			return ACTION_WAIT;
		default:
			return ACTION_DONE;
	}
}
