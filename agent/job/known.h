/*
 * known.h
 *		The actions that the executor knows.
 */
#ifndef PINGPONG_AGENT_JOB_KNOWN_H
#define PINGPONG_AGENT_JOB_KNOWN_H

#include "agent/job/action.h"

/* The table, which ends with an entry without a name; before the first job, and for good. */
extern void action_know(const ActionEntry *table);

/* NULL: not known */
extern const ActionEntry *action_find(const char *name);

/* The flags that all of these (a list of {"action": name}) have. */
extern int	action_flags_of(json_t *actions);

/* Their names, for the facts; a new reference. */
extern json_t *action_names(void);

#endif							/* PINGPONG_AGENT_JOB_KNOWN_H */
