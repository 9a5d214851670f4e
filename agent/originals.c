/*
 * originals.c
 *		What settings were before we changed them.
 *
 * The answer to the one who changed a setting may get lost, and he with it; then the
 * changed value would be taken for the original by the next one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/control.h"
#include "agent/originals.h"
#include "agent/text.h"

#define FILE_MAX (1024 * 1024)

static char *
directory_path(const AgentConfig *config)
{
	return xasprintf("%s/settings", config->state_dir);
}

static char *
original_path(const AgentConfig *config, const char *name)
{
	return xasprintf("%s/settings/%s.json", config->state_dir, name);
}

void
original_free(Original *original)
{
	free(original->value);
	free(original->line);
	memset(original, 0, sizeof(*original));
}

int
original_read(const AgentConfig *config, const char *name, Original *original)
{
	char	   *path = original_path(config, name);
	char	   *text = file_read(path, FILE_MAX, NULL);
	int			reason = text ? 0 : errno;
	json_t	   *record = text ? json_loads(text, 0, NULL) : NULL;
	const char *value = json_string_value(json_object_get(record, "value"));
	const char *line = json_string_value(json_object_get(record, "line"));

	original->value = value ? xstrdup(value) : NULL;
	original->line = line ? xstrdup(line) : NULL;
	if (text && !value)
		log_warning("\"%s\" cannot be read, it is ignored", path);
	json_decref(record);
	free(text);
	free(path);
	errno = reason;
	return original->value ? 1 : text || reason == ENOENT ? 0 : -1;
}

/* A file that cannot be read is not one without the line: the line would be taken away when all is put back. */
static int
own_line(const AgentConfig *config, const char *name, json_t **line)
{
	char	   *path = data_path(config, "postgresql.auto.conf");
	char	   *text = file_read(path, FILE_MAX, NULL);
	int			reason = text ? 0 : errno;
	char	   *value = text ? conf_value(text, name) : NULL;

	*line = value ? json_string(value) : json_null();
	free(value);
	free(text);
	free(path);
	errno = reason;
	return reason == 0 || reason == ENOENT ? 0 : -1;
}

static int
write_original(const AgentConfig *config, const char *name, const char *value, json_t *line)
{
	json_t	   *record = json_pack("{s:s, s:O}", "value", value, "line", line);
	char	   *text = json_dumps(record, JSON_COMPACT);
	char	   *directory = directory_path(config);
	char	   *path = original_path(config, name);
	int			rc = text ? make_directory(directory, 0700) : -1;

	if (rc == 0)
		rc = file_write_atomic(path, text, strlen(text), 0600, true);
	if (rc == 0)
		rc = file_fsync_path(config->state_dir);	/* the folder may be new */
	free(path);
	free(directory);
	free(text);
	json_decref(record);
	return rc;
}

int
original_keep(const AgentConfig *config, const char *name, const char *value)
{
	Original	original;
	json_t	   *line = NULL;
	int			known = original_read(config, name, &original);
	int			rc = known == 0 ? own_line(config, name, &line) : known;

	if (known == 0 && rc == 0)
		rc = write_original(config, name, value, line);
	json_decref(line);
	original_free(&original);
	return rc < 0 ? -1 : 0;
}

void
original_forget(const AgentConfig *config, const char *name)
{
	char	   *directory = directory_path(config);
	char	   *path = original_path(config, name);

	if (unlink(path) == 0)
		file_fsync_path(directory);
	else if (errno != ENOENT)
		log_warning("could not remove \"%s\": %s", path, strerror(errno));
	free(path);
	free(directory);
}
