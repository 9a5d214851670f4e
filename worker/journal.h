/*
 * journal.h - the worker's tables: every access is one short transaction.
 */
#ifndef PINGPONG_JOURNAL_H
#define PINGPONG_JOURNAL_H

#include "executor/spi.h"

#include "worker/run.h"

extern void journal_begin(void);
extern void journal_end(void);
extern uint64 journal_exec(const char *sql, int n,...);
extern char *journal_text(uint64 row, int column);
extern bool journal_ready(void);

extern void journal_load_topology(Run *run);
extern void journal_find_routes(Run *run);
extern void journal_load_steps(Run *run);
extern void journal_create_run(Run *run);
extern void journal_save_steps(Run *run);
extern void journal_save_run(Run *run);
extern bool journal_find_unfinished(Run *run);
extern bool journal_synchronous(void);
extern bool journal_satisfiable(const char *names);
extern json_t *journal_standby_names(void);
extern char *journal_relaxed(const char *node, const char *setting);
extern void journal_save_relaxed(Run *run);
extern bool journal_relaxed_due(void);
extern void journal_set_away(const char *node, bool away);
extern void journal_close_mended(Run *run);
extern void journal_last_seal(int *timeline, XLogRecPtr *lsn);
extern void journal_give_up(int64 id, const char *state, const char *sentence);
extern json_t *journal_facts_params(const char *node, const char *target);
extern void journal_store_fact(const char *node, bool ok, const char *error, const char *facts);
extern int	journal_preflight(Run *run, Verdict *verdict);

#endif
