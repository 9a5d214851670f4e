/*
 * reconcile.h - the idle worker keeps the routers where the table of routes says.
 */
#ifndef PINGPONG_RECONCILE_H
#define PINGPONG_RECONCILE_H

/*
 * Asks the endpoints where they point and takes answers, without waiting; gives the longest nap in ms. On a primary
 * at leisure only. May raise an error, of a statement.
 */
extern long reconcile_advance(void);

/* Something else is being done: what was asked is not waited for. */
extern void reconcile_drop(void);

/* Begins a run when endpoints are to be pointed back. Nothing else is being done. */
extern void reconcile_if_due(void);

#endif
