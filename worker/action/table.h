/*
 * table.h - all actions.
 */
#ifndef PINGPONG_ACTION_TABLE_H
#define PINGPONG_ACTION_TABLE_H

#include "worker/run.h"

/* The action of that name, or NULL. */
extern const Action *action_find(const char *name);

#endif
