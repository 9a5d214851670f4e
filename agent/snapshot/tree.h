/*
 * tree.h
 *		The contents of a data directory, copied so that they share their blocks.
 */
#ifndef PINGPONG_AGENT_SNAPSHOT_TREE_H
#define PINGPONG_AGENT_SNAPSHOT_TREE_H

#include <stdbool.h>

#include "agent/snapshot/driver.h"

#define TREE_STORE "pingpong.snapshot"	/* a copy that is in the data directory itself; no content of it */

/* Are there files of the server outside of its data directory? 55000: there are, and no copy of that one has them. */
extern int	tree_is_whole(const Snapshot *snapshot);

/* Can files there share their blocks? Tried for real. 55000: no. */
extern int	tree_can_share(const Snapshot *snapshot);

/* All that is in `from`, except TREE_STORE, into the folder `to`; on disk afterwards. */
extern int	tree_copy(const Snapshot *snapshot, const char *from, const char *to);

/* What is in the data directory goes, and what is in `from` comes in its place. */
extern int	tree_restore(const Snapshot *snapshot, const char *from);

#endif							/* PINGPONG_AGENT_SNAPSHOT_TREE_H */
