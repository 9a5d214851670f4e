/*
 * originals.c
 *		The values that settings had before the agent changed them.
 *
 * The original is on disk before the change. Otherwise, if the answer to the change is lost together with the worker
 * that asked for it, the next worker would take the changed value for the original.
 *
 * Several jobs may change one setting at a time. No lock is held during a question to a server. So each version of
 * the file has a number, and to keep or forget an original a job names the version that it has looked at.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/params.h"
#include "agent/pg/datadir.h"
#include "agent/pg/formats.h"
#include "agent/pg/originals.h"
#include "agent/pg/paths.h"

#define FILE_MAX (1024 * 1024)

static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;	/* for the files only, never over a query */

static char *
original_path(const PgInstance *pg, const char *name)
{
	return xasprintf("%s/%s.json", pg->settings_dir, name);
}

void
original_free(Original *original)
{
	free(original->value);
	free(original->line);
	free(original->system);
	free(original->run);
	json_decref(original->ours);
	memset(original, 0, sizeof(*original));
}

static char *
string_of(json_t *record, const char *name)
{
	const char *value = json_string_value(json_object_get(record, name));

	return value ? xstrdup(value) : NULL;
}

/* The lock is held. */
static int
read_original(const PgInstance *pg, const char *name, Original *original)
{
	char	   *path = original_path(pg, name);
	char	   *text = file_read(path, FILE_MAX, NULL);
	int			reason = text ? 0 : errno;
	json_t	   *record = text ? json_loads(text, 0, NULL) : NULL;

	*original = (Original) {.value = string_of(record, "value"), .line = string_of(record, "line"),
	.system = string_of(record, "system"), .run = string_of(record, "run"),
	.ours = json_incref(json_object_get(record, "ours")), .serial = param_int(record, "serial", 0)};
	if (text && !original->value)
	{
		log_warning("\"%s\" cannot be read, it is ignored", path);
		original_free(original);
	}
	json_decref(record);
	free(text);
	free(path);
	errno = reason;
	return original->value ? 1 : text || reason == ENOENT ? 0 : -1;
}

int
original_read(const PgInstance *pg, const char *name, Original *original)
{
	int			known;

	pthread_mutex_lock(&files_lock);
	known = read_original(pg, name, original);
	pthread_mutex_unlock(&files_lock);
	return known;
}

/* A file that cannot be read is not one without the line: then the line would be removed when all is restored. */
static int
own_line(const PgInstance *pg, const char *name, char **line)
{
	char	   *path = data_path(pg, "postgresql.auto.conf");
	char	   *text = file_read(path, FILE_MAX, NULL);
	int			reason = text ? 0 : errno;

	*line = text ? conf_value(text, name) : NULL;
	free(text);
	free(path);
	errno = reason;
	return reason == 0 || reason == ENOENT ? 0 : -1;
}

/* NULL: not known */
static char *
present_system(const PgInstance *pg)
{
	DataDir		found = datadir_look(pg->data);

	return found.known ? xasprintf("%llu", (unsigned long long) found.system) : NULL;
}

static bool
is_one_of(json_t *list, const char *line)
{
	json_t	   *one;
	size_t		i;

	json_array_foreach(list, i, one)
		if (line && json_is_string(one) && strcmp(json_string_value(one), line) == 0)
			return true;
	return false;
}

/* The server writes what it is told into its file as it was told. */
int
original_is_ours(const PgInstance *pg, const char *name, const Original *original)
{
	char	   *system = present_system(pg);
	char	   *line = NULL;
	int			rc = own_line(pg, name, &line);

	if (rc == 0 && !system)
	{
		errno = EIO;
		rc = -1;
	}
	if (rc == 0)
		rc = (!original->system || strcmp(original->system, system) == 0) &&
			(!original->ours || is_one_of(original->ours, line));
	free(line);
	free(system);
	return rc;
}

static json_int_t
next_serial(void)
{
	static json_int_t last;
	json_int_t	now = (json_int_t) (clock_realtime_ms() * 1000);

	last = now > last ? now : last + 1;
	return last;
}

/* What was remembered first stays the original; the new value is one more that is ours. */
static json_t *
new_record(const Original *original, const char *run, const char *ours)
{
	json_t	   *record = json_pack("{s:s, s:s?, s:s?, s:s, s:I}", "value", original->value, "line", original->line,
								   "system", original->system, "run", original->run ? original->run : run,
								   "serial", next_serial());
	json_t	   *list = original->ours ? json_deep_copy(original->ours) : json_array();

	if (!is_one_of(list, ours))
		json_array_append_new(list, json_string(ours));
	if (record)
		json_object_set_new(record, "ours", list);
	else
		json_decref(list);
	return record;
}

static int
write_original(const PgInstance *pg, const char *name, json_t *record)
{
	char	   *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
	char	   *path = original_path(pg, name);
	int			rc = -1;

	if (!text)
		errno = EINVAL;
	else
		rc = make_directory(pg->settings_dir, 0700);
	if (rc == 0)
		rc = file_write_atomic(path, text, strlen(text), 0600, true);
	if (rc == 0)
		rc = file_fsync_path(pg->state_dir);	/* the folder may be new */
	free(path);
	free(text);
	return rc;
}

/* The lock is held, and nothing is remembered yet. */
static int
make_original(const PgInstance *pg, const char *name, const char *now, Original *original)
{
	original->value = xstrdup(now);
	original->system = present_system(pg);
	return own_line(pg, name, &original->line);
}

int
original_keep(const PgInstance *pg, const char *name, const Original *seen, const char *now, const char *run,
			  const char *ours)
{
	Original	original;
	json_t	   *record = NULL;
	int			known;
	int			rc;

	pthread_mutex_lock(&files_lock);
	known = read_original(pg, name, &original);
	if (known >= 0 && original.serial != seen->serial)
		rc = 1;
	else
		rc = known == 0 ? make_original(pg, name, now, &original) : known < 0 ? -1 : 0;
	if (rc == 0)
	{
		record = new_record(&original, run, ours);
		rc = write_original(pg, name, record);
	}
	pthread_mutex_unlock(&files_lock);
	json_decref(record);
	original_free(&original);
	return rc;
}

void
original_forget(const PgInstance *pg, const char *name, const Original *seen)
{
	char	   *path = original_path(pg, name);
	Original	original;

	pthread_mutex_lock(&files_lock);
	if (read_original(pg, name, &original) == 1 && original.serial == seen->serial)
	{
		if (unlink(path) == 0)
			file_fsync_path(pg->settings_dir);
		else if (errno != ENOENT)
			log_warning("could not remove \"%s\": %s", path, strerror(errno));
	}
	pthread_mutex_unlock(&files_lock);
	original_free(&original);
	free(path);
}
