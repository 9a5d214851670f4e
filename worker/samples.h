/*
 * samples.h - the ring of samples in shared memory: what this server's WAL and slots looked like lately.
 *
 * The worker writes it, any backend reads it, each under its lock. It holds SAMPLES of them and never grows; after
 * a restart it is empty.
 */
#ifndef PINGPONG_SAMPLES_H
#define PINGPONG_SAMPLES_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

/* One slot in one sample. */
typedef struct SampledSlot
{
	char		name[NAMEDATALEN];
	XLogRecPtr	restart;		/* the oldest WAL that it keeps; invalid: none */
} SampledSlot;

typedef struct Sample
{
	TimestampTz at;
	XLogRecPtr	lsn;			/* written by a primary, received or replayed by a standby */
	int64		free_bytes;		/* on the disk of pg_wal, for this user; -1: not known */
	int			nslots;
	SampledSlot slots[FLEXIBLE_ARRAY_MEMBER];	/* max_replication_slots of them */
} Sample;

/* What changed between two samples: of a slot that both have, or of the WAL alone (an empty name). */
typedef struct Trend
{
	char		name[NAMEDATALEN];
	TimestampTz since;
	TimestampTz until;
	XLogRecPtr	lsn[3];			/* at `since`, in the middle (by the number of samples), at `until` */
	XLogRecPtr	restart[3];
	int64		free_bytes;		/* at `until` */
} Trend;

/* From the hooks of the same names; samples_shmem_startup() also after a crash restart. */
extern void samples_shmem_request(void);
extern void samples_shmem_startup(void);

/* An empty sample with room for all slots, in the present memory context. */
extern Sample *samples_new(void);

/* The oldest one goes. Only the worker calls it. */
extern void samples_add(const Sample *sample);

/*
 * The trends between the newest sample and the oldest that is at most window_us older: first that of the WAL, then
 * one for each slot of the newest. Gives their number, 0 if there is no sample. A slot that is younger than that
 * begins with the first sample that has it.
 */
extern int	samples_trends(int64 window_us, Trend **trends);

/*
 * For how long at least there has been WAL beyond that position, in us: since the first sample that had it; 0: no
 * sample has. A position that is older than all samples gives the age of the oldest one.
 */
extern int64 samples_age(XLogRecPtr lsn, TimestampTz now);

#endif
