/*
 * table.h - all actions.
 */
#ifndef PINGPONG_ACTION_TABLE_H
#define PINGPONG_ACTION_TABLE_H

#include "worker/run.h"

/* The action of that name, or NULL. */
extern const Action *action_find(const char *name);

/* The n-th of all, from 0; NULL after the last one. */
extern const Action *action_at(int n);

#endif
