/*
 * wal.h - WAL without content, and the process that writes WAL out.
 */
#ifndef PINGPONG_WORKER_WAL_H
#define PINGPONG_WORKER_WAL_H

#include "worker/run.h"

/* A segment with less than this after the last record is ended at the seal (wal_align). */
#define ALIGN_MARGIN	(512 * 1024)

extern uint64 wal_to_segment_end(void);

/* Some bytes that say nothing to anybody. Takes no XID. */
extern void wal_pad(int bytes);

/* Advance of an action: the WAL writer is awake, and will not flush before its delay is over. */
extern ActionResult wal_calm_writer(Step *step);

#endif
