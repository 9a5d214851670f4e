/*
 * journal.h - the tables of runs and steps, nodes and routes, facts and preflight.
 */
#ifndef PINGPONG_WORKER_JOURNAL_H
#define PINGPONG_WORKER_JOURNAL_H

#include "worker/run.h"

/* Whether the extension is there. */
extern bool journal_ready(void);

/*
 * Nodes and routes as they are now, into `run`, in the caller's context; and where RO routes point that no run has
 * changed.
 */
extern void journal_load_topology(Run *run);
extern void journal_find_routes(Run *run);

/* Stores a new run: takes the next number and epoch. ERROR 42704, 22023 if the runbook cannot be used for it. */
extern void journal_create_run(Run *run);
extern void journal_save_steps(Run *run);
extern void journal_save_run(Run *run);

/* The last run that has not ended, without its steps; false if there is none. */
extern bool journal_find_unfinished(Run *run);
extern void journal_close_fixed(Run *run);
extern void journal_give_up(int64 id, const char *state, const char *sentence);

/* Whether a commit finds the standbys that it has to wait for; whether it would, with these names. */
extern bool journal_synchronous(void);
extern bool journal_satisfiable(const char *names);
extern json_t *journal_standby_names(void);

extern void journal_set_away(const char *node, bool away);
extern void journal_last_seal(int *timeline, XLogRecPtr *lsn);

extern json_t *journal_facts_params(const char *node, const char *target);
extern void journal_store_fact(const char *node, bool ok, const char *error, const char *facts);

/* Makes the checks; gives the number that failed, and a failure whose detail shows them. */
extern int	journal_preflight(Run *run, Failure *failure);

#endif
