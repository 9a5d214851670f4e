/*
 * table.c - all actions.
 */
#include "postgres.h"

#include "worker/action/action.h"
#include "worker/action/table.h"

#define TABLE(table) table,

const Action *
action_at(int n)
{
	static const Action *const tables[] = {ACTION_FAMILIES(TABLE)};

	for (int t = 0; t < lengthof(tables); t++)
		for (const Action *a = tables[t]; a->name != NULL; a++)
			if (n-- == 0)
				return a;
	return NULL;
}

const Action *
action_find(const char *name)
{
	const Action *action;

	for (int n = 0; (action = action_at(n)) != NULL; n++)
		if (strcmp(action->name, name) == 0)
			return action;
	return NULL;
}
