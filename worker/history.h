/*
 * history.h - coarse samples, kept in a table.
 */
#ifndef PINGPONG_HISTORY_H
#define PINGPONG_HISTORY_H

/*
 * Keeps a sample when it is due; gives the longest nap in ms. On a primary whose gate is open. May raise an error, of
 * a statement.
 */
extern long history_advance(void);

#endif
