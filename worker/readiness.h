/*
 * readiness.h - preflight for each standby, kept fresh in pingpong.readiness.
 */
#ifndef PINGPONG_READINESS_H
#define PINGPONG_READINESS_H

/*
 * A piece of it, without waiting; gives the longest nap in ms. On a primary whose gate is open, while nothing else is
 * being done. May raise an error, of a statement.
 */
extern long readiness_advance(void);

/* What is under way is given up: somebody wants something of the worker, or it may not do this now. */
extern void readiness_drop(void);

#endif
