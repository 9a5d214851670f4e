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

/*
 * The slot in the sample before, if it was the same: one that kept WAL, and not newer WAL. A slot of that name that
 * was made anew may be behind the one before it.
 */
static const SampledSlot *
slot_before(const Sample *sample, const SampledSlot *after, int hint)
{
	const SampledSlot *slot = find_slot(sample, after->name, hint);

	return slot && slot->restart != InvalidXLogRecPtr && slot->restart <= after->restart ? slot : NULL;
}

static void
fill_point(Trend *trend, int point, const Sample *sample, const SampledSlot *slot)
{
	trend->lsn[point] = sample->lsn;
	trend->restart[point] = slot->restart;
}

/* As far back as the slot kept WAL without a break. */
static void
fill_slot(Trend *trend, int i, uint64 n)
{
	const SampledSlot *slot = &sample_at(0)->slots[i];
	const SampledSlot *before;
	uint64		ago = 0;

	strlcpy(trend->name, slot->name, sizeof(trend->name));
	for (int point = 0; point < 3; point++)
		fill_point(trend, point, sample_at(0), slot);
	if (slot->restart == InvalidXLogRecPtr)
		return;
	while (ago + 1 < n && (before = slot_before(sample_at(ago + 1), slot, i)) != NULL)
	{
		slot = before;
		ago++;
	}
	trend->since = sample_at(ago)->at;
	fill_point(trend, 0, sample_at(ago), slot);
	fill_point(trend, 1, sample_at(ago / 2), find_slot(sample_at(ago / 2), slot->name, i));
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
			trend->until = newest->at;
			trend->lsn[0] = oldest->lsn;
			trend->lsn[1] = sample_at(within / 2)->lsn;
			trend->lsn[2] = newest->lsn;
			trend->free_bytes = newest->free_bytes;
			if (n > 0)
				fill_slot(trend, n - 1, within);
		}
	}
	LWLockRelease(ring->lock);
	return n;
}

int64
samples_age(XLogRecPtr lsn, TimestampTz now)
{
	TimestampTz since = now;

	LWLockAcquire(ring->lock, LW_SHARED);
	for (uint64 ago = 0; ago < Min(ring->taken, SAMPLES) && sample_at(ago)->lsn > lsn; ago++)
		since = Min(since, sample_at(ago)->at);
	LWLockRelease(ring->lock);
	return now - since;
}
