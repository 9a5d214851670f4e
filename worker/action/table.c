/*
 * table.c - all actions.
 */
#include "postgres.h"

#include "worker/action/action.h"
#include "worker/action/table.h"

#define TABLE(table) table,

/* The action of that name, or NULL. */
const Action *
action_find(const char *name)
{
	static const Action *const tables[] = {ACTION_FAMILIES(TABLE)};

	for (int t = 0; t < lengthof(tables); t++)
		for (const Action *a = tables[t]; a->name != NULL; a++)
			if (strcmp(a->name, name) == 0)
				return a;
	return NULL;
}
