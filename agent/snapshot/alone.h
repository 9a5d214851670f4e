/*
 * alone.h
 *		A file system that goes back as a whole: it may hold the two data directories and nothing else.
 */
#ifndef PINGPONG_AGENT_SNAPSHOT_ALONE_H
#define PINGPONG_AGENT_SNAPSHOT_ALONE_H

#include "agent/snapshot/driver.h"

/* Is that so of what is mounted there, for the snapshot's two directories? 55000: no; 58030: it cannot be read. */
extern int	alone_check(const Snapshot *snapshot, const char *mountpoint);

#endif							/* PINGPONG_AGENT_SNAPSHOT_ALONE_H */
