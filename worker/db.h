/*
 * db.h - statements of the worker, each in a short transaction of its own.
 */
#ifndef PINGPONG_DB_H
#define PINGPONG_DB_H

#include "executor/spi.h"

/*
 * Opens the transaction that db_exec needs; db_end commits it. No agent is talked to in between. A pair within
 * another one is part of its transaction.
 */
extern void db_begin(void);
extern void db_end(void);

/* One statement with `n` text parameters (NULL allowed, 16 at most); gives the number of rows. Raises its errors. */
extern uint64 db_exec(const char *sql, int n,...);

/* A column (from 1) of a row (from 0) of the last result, as text; NULL if null. Gone with db_end. */
extern char *db_text(uint64 row, int column);

/* The same into a buffer; "" if null. */
extern void db_copy(char *to, size_t size, uint64 row, int column);

#endif
