/*
 * snapshot.h
 *		The snapshot that an upgrade in mode link takes of the old data directory, where one is configured.
 *
 * It is taken when the old server is down, and is the way back once the new one has run on the linked files.
 */
#ifndef PINGPONG_AGENT_UPGRADE_SNAPSHOT_H
#define PINGPONG_AGENT_UPGRADE_SNAPSHOT_H

#include "agent/upgrade/record.h"
#include "agent/upgrade/upgrade.h"

/* Could it be taken? 0 also where none is configured, or the mode needs none. */
extern int	upgrade_snapshot_check(const Upgrade *upgrade);

/* Its name comes into the record, which is written before and after it is taken. */
extern int	upgrade_snapshot_take(const Upgrade *upgrade, UpgradeRecord *record);

/* Is it there, and could it be restored? 55000: no. */
extern int	upgrade_snapshot_ready(const Upgrade *upgrade, const UpgradeRecord *record);

/* 55000: there is none. */
extern int	upgrade_snapshot_restore(const Upgrade *upgrade, const UpgradeRecord *record);

/* If there is one. 55000: it is not known any more how it was taken (the option "snapshot" is gone). */
extern int	upgrade_snapshot_drop(const Upgrade *upgrade, UpgradeRecord *record);

#endif							/* PINGPONG_AGENT_UPGRADE_SNAPSHOT_H */
