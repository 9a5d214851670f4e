/*
 * watch.h - asks the agents how their nodes are.
 */
#ifndef PINGPONG_WATCH_H
#define PINGPONG_WATCH_H

/*
 * Puts questions and takes answers, without waiting; gives the longest nap in ms. The extension is there. May raise
 * an error, of a statement.
 */
extern long watch_advance(void);

/* The next round begins at once. */
extern void watch_soon(void);

#endif
