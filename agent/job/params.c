/*
 * params.c
 *		Parameters of an action.
 */
#include <strings.h>

#include "agent/job/params.h"

const char *
param_string(json_t *params, const char *name, const char *otherwise)
{
	const char *value = json_string_value(json_object_get(params, name));

	return value ? value : otherwise;
}

int64_t
param_int(json_t *params, const char *name, int64_t otherwise)
{
	json_t	   *value = json_object_get(params, name);

	return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

bool
param_bool(json_t *params, const char *name, bool otherwise)
{
	json_t	   *value = json_object_get(params, name);

	return json_is_boolean(value) ? json_is_true(value) : otherwise;
}

bool
param_names(json_t *list, const char *name)
{
	json_t	   *one;
	size_t		i;

	json_array_foreach(list, i, one)
		if (json_is_string(one) && strcasecmp(json_string_value(one), name) == 0)
			return true;
	return false;
}
