/*
 * sampler.c - looks at this server once in pingpong.sample_interval: its WAL, its slots, the disk of pg_wal.
 *
 * On a standby too. Nothing is written to a table, so an idle server writes no WAL for it.
 */
#include "postgres.h"

#include <sys/statvfs.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "common/int.h"
#include "replication/slot.h"
#include "replication/walreceiver.h"
#include "utils/timestamp.h"

#include "pg_compat.h"
#include "worker/clock.h"
#include "worker/sampler.h"
#include "worker/samples.h"
#include "worker/settings.h"

static XLogRecPtr
present_lsn(void)
{
	XLogRecPtr	replayed;

	if (!RecoveryInProgress())
		return GetXLogWriteRecPtr();
	replayed = GetXLogReplayRecPtr(NULL);
	return Max(replayed, GetWalRcvFlushRecPtr(NULL, NULL));
}

/* The current directory is the data directory. */
static int64
free_bytes(void)
{
	struct statvfs disk;
	int64		bytes;

	if (statvfs(XLOGDIR, &disk) != 0)
		return -1;
	return pg_mul_s64_overflow(disk.f_bavail, disk.f_frsize, &bytes) ? PG_INT64_MAX : bytes;
}

static void
read_slots(Sample *sample)
{
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		SampledSlot *sampled = &sample->slots[sample->nslots];

		if (!slot->in_use)
			continue;
		SpinLockAcquire(&slot->mutex);
		/* an invalid one keeps nothing, whatever it says */
		sampled->restart = compat_slot_is_invalid(slot) ? InvalidXLogRecPtr : slot->data.restart_lsn;
		strlcpy(sampled->name, NameStr(slot->data.name), sizeof(sampled->name));
		SpinLockRelease(&slot->mutex);
		sample->nslots++;
	}
	LWLockRelease(ReplicationSlotControlLock);
}

static void
take_sample(void)
{
	Sample	   *sample = samples_new();

	sample->at = GetCurrentTimestamp();
	/* the slots first: what they keep is then never past the end of WAL */
	read_slots(sample);
	sample->lsn = present_lsn();
	sample->free_bytes = free_bytes();
	samples_add(sample);
	pfree(sample);
}

long
sampler_advance(void)
{
	static int64 due = 0;		/* now_us() */
	int64		now = now_us();

	/* the interval may have become shorter */
	due = Min(due, now + worker_sample_interval * INT64CONST(1000));
	if (now >= due)
	{
		take_sample();
		due = now + worker_sample_interval * INT64CONST(1000);
	}
	return (long) ((due - now) / 1000 + 1);
}
