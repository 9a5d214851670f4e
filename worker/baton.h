/*
 * baton.h - a failover that has no row yet: a file in the data directory.
 *
 * A failover is begun on a standby, where nothing can be stored in a table. Until a primary has its row, this file is
 * its journal. The worker that begins it writes it before its first order, and once more, with what was done, before
 * the order to promote. The target's agent puts it into the data directory of the target when it arms the token, if
 * that is another node. It goes when the run has ended without a promotion, or when its row is stored.
 */
#ifndef PINGPONG_BATON_H
#define PINGPONG_BATON_H

#include "worker/run.h"

/* The run as JSON, with its steps: what is in the file. A new reference. */
extern json_t *baton_json(Run *run);

/* Durable when it returns. ERROR: it could not be written. */
extern void baton_write(Run *run);

/* Gone for good, also if there was none. A report when it cannot be removed. */
extern void baton_remove(void);

/*
 * On a standby: the failover that was begun here and has not ended, into `run`, without its topology and its steps.
 * NULL: there is none. Else a new reference, for baton_take_steps(), when the steps are loaded.
 */
extern json_t *baton_find(Run *run);
extern void baton_take_steps(Run *run, json_t *baton);

/* The epoch and the key of a failover to this server that is in the file; 0: there is none. No database is needed. */
extern int64 baton_of_here(char *key, size_t size);

/*
 * On a primary: the run of the file gets its rows, if it has none, and the file goes. Other runs that never ended are
 * ended: their primary was replaced. The run is then found as any other that has not ended. A file whose epoch is not
 * above that of a run which moves the primary was left by one that came to nothing: it is put aside.
 */
extern void baton_adopt(void);

#endif
