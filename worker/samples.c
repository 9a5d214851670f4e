/*
 * samples.c - the ring of samples in shared memory.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "worker/samples.h"

#define SAMPLES			128		/* two minutes of the default interval */

typedef struct Ring
{
	LWLock	   *lock;			/* guards all of it */
	uint64		taken;			/* ever; the ring holds the last SAMPLES */
	char		samples[FLEXIBLE_ARRAY_MEMBER];
} Ring;

static Ring *ring;

static Size
sample_size(void)
{
	return MAXALIGN(offsetof(Sample, slots) + max_replication_slots * sizeof(SampledSlot));
}

static Size
ring_size(void)
{
	return MAXALIGN(offsetof(Ring, samples)) + SAMPLES * sample_size();
}

/* `ago`: 0 is the newest. The lock is held. */
static Sample *
sample_at(uint64 ago)
{
	uint64		i = (ring->taken - 1 - ago) % SAMPLES;

	return (Sample *) ((char *) ring + MAXALIGN(offsetof(Ring, samples)) + i * sample_size());
}

void
samples_shmem_request(void)
{
	RequestAddinShmemSpace(ring_size());
	RequestNamedLWLockTranche("pg_pingpong samples", 1);
}

void
samples_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ring = ShmemInitStruct("pg_pingpong samples", ring_size(), &found);
	if (!found)
	{
		memset(ring, 0, ring_size());
		ring->lock = &GetNamedLWLockTranche("pg_pingpong samples")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

Sample *
samples_new(void)
{
	return palloc0(sample_size());
}

void
samples_add(const Sample *sample)
{
	LWLockAcquire(ring->lock, LW_EXCLUSIVE);
	ring->taken++;
	memcpy(sample_at(0), sample, sample_size());
	LWLockRelease(ring->lock);
}

/* ---- trends ---- */

/* A slot is mostly where it was in the sample before. */
static const SampledSlot *
find_slot(const Sample *sample, const char *name, int hint)
{
	if (hint < sample->nslots && strcmp(sample->slots[hint].name, name) == 0)
		return &sample->slots[hint];
	for (int i = 0; i < sample->nslots; i++)
		if (strcmp(sample->slots[i].name, name) == 0)
			return &sample->slots[i];
	return NULL;
}

/* The number of samples that are in the window, the newest among them. A clock that was set back ends it. */
static uint64
samples_within(int64 window_us)
{
	uint64		n = Min(ring->taken, SAMPLES);
	uint64		i = 1;

	while (i < n && sample_at(i)->at < sample_at(i - 1)->at && sample_at(0)->at - sample_at(i)->at <= window_us)
		i++;
	return i;
}

/* As far back as the slot kept WAL without a break. */
static void
fill_slot(Trend *trend, int i, uint64 n)
{
	const SampledSlot *now = &sample_at(0)->slots[i];

	strlcpy(trend->name, now->name, sizeof(trend->name));
	trend->restart[0] = trend->restart[1] = now->restart;
	for (uint64 ago = 1; ago < n && now->restart != InvalidXLogRecPtr; ago++)
	{
		const Sample *sample = sample_at(ago);
		const SampledSlot *then = find_slot(sample, now->name, i);

		if (then == NULL || then->restart == InvalidXLogRecPtr)
			break;
		trend->since = sample->at;
		trend->lsn[0] = sample->lsn;
		trend->restart[0] = then->restart;
	}
}

int
samples_trends(int64 window_us, Trend **trends)
{
	int			n = 0;

	*trends = palloc0((max_replication_slots + 1) * sizeof(Trend));
	LWLockAcquire(ring->lock, LW_SHARED);
	if (ring->taken > 0)
	{
		const Sample *newest = sample_at(0);
		uint64		within = samples_within(window_us);
		const Sample *oldest = sample_at(within - 1);

		for (n = 0; n <= newest->nslots; n++)
		{
			Trend	   *trend = &(*trends)[n];

			trend->since = n == 0 ? oldest->at : newest->at;
			trend->lsn[0] = n == 0 ? oldest->lsn : newest->lsn;
			trend->until = newest->at;
			trend->lsn[1] = newest->lsn;
			trend->free_bytes = newest->free_bytes;
			if (n > 0)
				fill_slot(trend, n - 1, within);
		}
	}
	LWLockRelease(ring->lock);
	return n;
}
