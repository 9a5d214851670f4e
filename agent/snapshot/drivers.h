/*
 * drivers.h
 *		The drivers of snapshots, by their names in the option "snapshot" of [postgresql].
 */
#ifndef PINGPONG_AGENT_SNAPSHOT_DRIVERS_H
#define PINGPONG_AGENT_SNAPSHOT_DRIVERS_H

#include "agent/snapshot/driver.h"

/*
 * The driver that the instance is configured with, and the snapshot's words; NULL: none is. Fails the job (22023)
 * where it is one that does not exist, or has too few words, and gives NULL then, too.
 */
extern const SnapshotDriver *snapshot_driver(ActionContext *ctx, const PgInstance *pg, Snapshot *snapshot);

#endif							/* PINGPONG_AGENT_SNAPSHOT_DRIVERS_H */
