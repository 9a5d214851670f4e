/*
 * lost.h
 *		The transactions that only this node has: listed before they are given up, and kept aside as WAL.
 */
#ifndef PINGPONG_AGENT_REJOIN_LOST_H
#define PINGPONG_AGENT_REJOIN_LOST_H

#include <jansson.h>

#include "agent/rejoin/rejoin.h"

/*
 * What a node that is stopped (or serves nobody) has written past the fork, by pg_waldump: {"commits", "records",
 * "from", "to", "first_commit", "last_commit", "relations": [{"database", "relation", "inserted", "updated",
 * "deleted"}], "complete"}. The relations are named by the source, as far as it knows them; those of the system are
 * left out. A new reference; NULL: it does not tell, the log says why. Takes `limit_ms` at most.
 */
extern json_t *lost_list(Rejoin *rejoin, int limit_ms);

/* The same as a sentence, malloc'd. */
extern char *lost_sentence(json_t *list);

/*
 * Lists it, and copies the WAL to state_dir/lost, with the list, where it stays until an operator removes it; the
 * result gets "lost". Once for a fork: what is there already stays as it is. 0, or -1 with the job's error: nothing
 * was changed then.
 */
extern int	lost_keep(Rejoin *rejoin);

#endif							/* PINGPONG_AGENT_REJOIN_LOST_H */
