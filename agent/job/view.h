/*
 * view.h
 *		A job as JSON: for the front, and for the journal.  The caller holds jobs_lock.
 */
#ifndef PINGPONG_AGENT_JOB_VIEW_H
#define PINGPONG_AGENT_JOB_VIEW_H

#include "agent/job/job.h"

extern const char *jobview_state(JobState state);
extern json_t *jobview_json(const Job *job, bool with_output);

/* Leaves out of a view, or of a record, what may be large, and what is of no use to a person who watches. */
extern void jobview_shorten(json_t *view);

extern json_t *jobview_record(const Job *job);	/* the same, with what a resumption needs */
extern json_t *jobview_order(json_t *record);	/* the actions that a record was made of; borrowed */
/* a new job of that order; record: of the journal, any contents */
extern void jobview_restore(Job *job, json_t *record);
extern void jobview_output_add(Job *job, const char *data, size_t size);

#endif							/* PINGPONG_AGENT_JOB_VIEW_H */
