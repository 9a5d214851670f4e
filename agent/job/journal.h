/*
 * journal.h
 *		The files of jobs: state_dir/jobs/RUN/STEP.json.  None needs jobs_lock.
 */
#ifndef PINGPONG_AGENT_JOB_JOURNAL_H
#define PINGPONG_AGENT_JOB_JOURNAL_H

#include <jansson.h>
#include <stdbool.h>

extern int	journal_write(const char *state_dir, const char *run, const char *step, json_t *record, bool durable);

/*
 * Room for the records of a job that has to be able to go back on a full disk, made before it begins, and given back
 * at its end. -1 with errno: there is none.
 */
extern int	journal_reserve(const char *state_dir, const char *run, const char *step);
extern void journal_release(const char *state_dir, const char *run, const char *step);

/* Each record that can be read; of one that cannot the log tells. -1 with errno: nor can the journal itself. */
extern int	journal_read_all(const char *state_dir, void (*found) (json_t *record, void *arg), void *arg);
extern void journal_remove_run(const char *state_dir, const char *run);
extern void journal_remove_job(const char *state_dir, const char *run, const char *step);

#endif							/* PINGPONG_AGENT_JOB_JOURNAL_H */
