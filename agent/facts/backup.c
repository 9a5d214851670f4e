/*
 * backup.c
 *		The last good base backup, and the archived WAL.
 *
 * pgBackRest is asked by its own `info`. A backup that it calls damaged is none.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/facts/backup.h"
#include "agent/facts/error.h"
#include "agent/job/child.h"

#define PATIENCE_MS 3500
#define OUTPUT_MAX (1 << 20)	/* about a thousand backups */

static json_t *
words_json(char *const *words)
{
	json_t	   *list = json_array();

	for (int i = 0; words[i]; i++)
		json_array_append_new(list, json_string(words[i]));
	return list;
}

json_t *
facts_backup_params(const AgentConfig *config)
{
	const BackupConfig *backup = &config->backup;

	if (backup->pgbackrest)
		return json_pack("{s:o, s:s}", "argv", words_json(backup->pgbackrest), "stanza", backup->stanza);
	return backup->command ? json_pack("{s:o}", "argv", words_json(backup->command)) : NULL;
}

static json_t *
stanza_in(const json_t *info, const char *name)
{
	json_t	   *stanza;
	size_t		i;

	json_array_foreach(info, i, stanza)
	{
		const char *found = json_string_value(json_object_get(stanza, "name"));

		if (found && strcmp(found, name) == 0)
			return stanza;
	}
	return NULL;
}

/* Its moments are in seconds. */
static void
note_backup(json_t *answer, const json_t *backup)
{
	double		stop_ms = 1000 * json_number_value(json_object_get(json_object_get(backup, "timestamp"), "stop"));
	const char *type = json_string_value(json_object_get(backup, "type"));

	if (json_is_true(json_object_get(backup, "error")) || stop_ms <= 0)
		return;
	if (type && strcmp(type, "full") == 0 && stop_ms > json_number_value(json_object_get(answer, "full_ms")))
		json_object_set_new(answer, "full_ms", json_real(stop_ms));
	if (stop_ms <= json_number_value(json_object_get(answer, "last_ms")))
		return;
	json_object_set_new(answer, "last_ms", json_real(stop_ms));
	json_object_set(answer, "label", json_object_get(backup, "label"));
	json_object_set(answer, "type", json_object_get(backup, "type"));
}

/* Of several archives (one a major version) the one of the latest name. */
static void
note_wal(json_t *answer, const json_t *archive)
{
	const char *wal = json_string_value(json_object_get(archive, "max"));
	const char *known = json_string_value(json_object_get(answer, "wal"));

	if (wal && (!known || strcmp(wal, known) > 0))
		json_object_set_new(answer, "wal", json_string(wal));
}

json_t *
facts_backup_of_info(const json_t *info, const char *stanza)
{
	json_t	   *found = stanza_in(info, stanza);
	const char *message = json_string_value(json_object_get(json_object_get(found, "status"), "message"));
	json_t	   *answer = json_pack("{s:s}", "tool", "pgbackrest");
	json_t	   *one;
	size_t		i;

	json_array_foreach(json_object_get(found, "backup"), i, one)
		note_backup(answer, one);
	json_array_foreach(json_object_get(found, "archive"), i, one)
		note_wal(answer, one);
	if (!json_object_get(answer, "last_ms"))
		json_object_set_new(answer, "error", json_string(!found ? "pgBackRest does not know the stanza" :
														 message && strcmp(message, "ok") != 0 ? message :
														 "there is no good backup"));
	return answer;
}

/* A command of the site prints the object itself. */
static json_t *
answer_of(json_t *printed, const char *stanza)
{
	if (!printed)
		return facts_error("its output is no JSON");
	if (stanza)
		return facts_backup_of_info(printed, stanza);
	if (!json_is_number(json_object_get(printed, "last_ms")) && !json_object_get(printed, "error"))
		return facts_error("its output has no number \"last_ms\"");
	json_object_set_new(printed, "tool", json_string("command"));
	return json_incref(printed);
}

json_t *
facts_backup(const PgInstance *pg, json_t *params)
{
	const char *stanza = json_string_value(json_object_get(params, "stanza"));
	json_t	   *words = json_object_get(params, "argv");
	size_t		n = json_array_size(words);
	char	  **argv = xalloc(sizeof(char *) * (n + 6));
	char	   *option = xasprintf("--stanza=%s", stanza ? stanza : "");
	char	   *output = xalloc(OUTPUT_MAX);
	json_t	   *printed;
	json_t	   *answer;
	int			status;

	for (size_t i = 0; i < n; i++)
		argv[i] = (char *) json_string_value(json_array_get(words, i));
	if (stanza)
	{
		argv[n] = option;
		argv[n + 1] = "--log-level-console=off";	/* its words would be among the JSON */
		argv[n + 2] = "--log-level-stderr=off";
		argv[n + 3] = "--output=json";
		argv[n + 4] = "info";
	}
	status = child_run_text(argv, PATIENCE_MS, output, OUTPUT_MAX);
	printed = status == 0 ? json_loads(output, 0, NULL) : NULL;
	answer = status == 0 ? answer_of(printed, stanza) : facts_error("\"%s\" ends with status %d", argv[0], status);
	json_decref(printed);
	free(output);
	free(option);
	free(argv);
	return answer;
}
