/*
 * backup.c
 *		--check: where backups are asked for.
 */
#include "agent/check/backup.h"
#include "agent/check/say.h"
#include "agent/facts/backup.h"

void
check_backup(const AgentConfig *config)
{
	json_t	   *params = facts_backup_params(config);
	json_t	   *answer = params ? facts_backup(NULL, params) : NULL;
	const char *error = json_string_value(json_object_get(answer, "error"));
	const char *label = json_string_value(json_object_get(answer, "label"));

	if (params && error)
		check_warn("backup: %s", error);
	else if (params)
		check_say(true, "backup: the last good one is %s", label ? label : "without a name");
	json_decref(answer);
	json_decref(params);
}
