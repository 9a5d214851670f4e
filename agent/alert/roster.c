/*
 * roster.c
 *		The nodes of the cluster as this host's database has told them last.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/alert/roster.h"
#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"

#define FILE_MAX (1 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static json_t *known;
static char *path;

void
roster_start(const char *state_dir)
{
	char	   *text;

	path = xasprintf("%s/nodes.json", state_dir);
	text = file_read(path, FILE_MAX, NULL);
	known = text ? json_loads(text, 0, NULL) : NULL;
	if (!json_is_array(known))
	{
		json_decref(known);
		known = json_array();
	}
	free(text);
}

void
roster_set(json_t *rows)
{
	pthread_mutex_lock(&lock);
	if (json_equal(rows, known))
		json_decref(rows);
	else
	{
		char	   *text = json_dumps(rows, JSON_INDENT(1));

		json_decref(known);
		known = rows;
		if (file_write_atomic(path, text, strlen(text), 0600, true) < 0)
			log_error("could not write \"%s\": %s", path, strerror(errno));
		free(text);
	}
	pthread_mutex_unlock(&lock);
}

json_t *
roster_get(void)
{
	json_t	   *copy;

	pthread_mutex_lock(&lock);
	copy = json_deep_copy(known);
	pthread_mutex_unlock(&lock);
	return copy;
}
