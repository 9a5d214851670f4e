/*
 * known.c
 *		The actions that the executor knows. They are on a floor above it, so main.c hands them down.
 */
#include <string.h>

#include "agent/job/known.h"
#include "agent/job/params.h"

static const ActionEntry *known;

void
action_know(const ActionEntry *table)
{
	known = table;
}

const ActionEntry *
action_find(const char *name)
{
	for (const ActionEntry *entry = known; entry && entry->name; entry++)
		if (strcmp(entry->name, name) == 0)
			return entry;
	return NULL;
}

int
action_flags_of(json_t *actions)
{
	int			all = ~0;
	size_t		i;
	json_t	   *action;

	json_array_foreach(actions, i, action)
	{
		const ActionEntry *entry = action_find(param_string(action, "action", ""));

		all &= entry ? entry->flags : 0;
	}
	return all;
}

json_t *
action_names(void)
{
	json_t	   *names = json_array();

	for (const ActionEntry *entry = known; entry && entry->name; entry++)
		json_array_append_new(names, json_string(entry->name));
	return names;
}
