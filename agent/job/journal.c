/*
 * journal.c
 *		The job journal: state_dir/jobs/RUN/STEP.json.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/journal.h"
#include "common/names.h"

#define RECORD_MAX (1024 * 1024)
#define ROOM_BYTES (32 * 1024)

static char *
run_directory(const char *state_dir, const char *run)
{
	return xasprintf("%s/jobs/%s", state_dir, run);
}

/* The folder of a new run is itself an entry that must last. */
static int
ensure_run_directory(const char *state_dir, const char *run, bool durable)
{
	char	   *path = run_directory(state_dir, run);
	char	   *parent = xasprintf("%s/jobs", state_dir);
	int			rc = 0;

	if (!file_exists(path))
	{
		rc = make_directory(path, 0700);
		if (rc == 0 && durable)
			rc = file_fsync_path(parent);
	}
	free(parent);
	free(path);
	return rc;
}

static char *
room_path(const char *state_dir, const char *run, const char *step)
{
	return xasprintf("%s/jobs/%s/%s.room", state_dir, run, step);
}

int
journal_reserve(const char *state_dir, const char *run, const char *step)
{
	char	   *room = room_path(state_dir, run, step);
	int			rc = ensure_run_directory(state_dir, run, true);

	if (rc == 0 && !file_exists(room))
		rc = file_reserve(room, ROOM_BYTES, 0600);
	free(room);
	return rc;
}

void
journal_release(const char *state_dir, const char *run, const char *step)
{
	char	   *room = room_path(state_dir, run, step);

	unlink(room);
	free(room);
}

int
journal_write(const char *state_dir, const char *run, const char *step, json_t *record, bool durable)
{
	char	   *text = json_dumps(record, JSON_COMPACT);
	char	   *path = xasprintf("%s/jobs/%s/%s.json", state_dir, run, step);
	char	   *room = room_path(state_dir, run, step);
	int			rc = -1;
	int			reason;

	if (text && ensure_run_directory(state_dir, run, durable) == 0)
		rc = file_exists(room) ? file_write_renewed(path, room, text, strlen(text), ROOM_BYTES, 0600) :
			file_write_atomic(path, text, strlen(text), 0600, durable);
	reason = errno;
	if (rc < 0)
		log_error("could not write job journal \"%s\": %s", path, strerror(reason));
	free(room);
	free(path);
	free(text);
	errno = reason;
	return rc;
}

static void
read_record(const char *directory, const char *name, void (*found) (json_t *record, void *arg), void *arg)
{
	size_t		len = strlen(name);
	char	   *path;
	char	   *text;
	int			reason;
	json_t	   *record;

	if (len < 6 || strcmp(name + len - 5, ".json") != 0)
		return;
	path = xasprintf("%s/%s", directory, name);
	text = file_read(path, RECORD_MAX, NULL);
	reason = errno;
	record = text ? json_loads(text, 0, NULL) : NULL;
	if (record)
		found(record, arg);
	else
		log_warning("job journal \"%s\" cannot be read, it is ignored: %s", path,
					text ? "it is not JSON" : strerror(reason));
	json_decref(record);
	free(text);
	free(path);
}

int
journal_read_all(const char *state_dir, void (*found) (json_t *record, void *arg), void *arg)
{
	char	   *root = xasprintf("%s/jobs", state_dir);
	DIR		   *runs = opendir(root);
	int			rc = runs ? 0 : -1;
	int			reason = errno;
	struct dirent *run;

	while (runs && (run = readdir(runs)))
	{
		char	   *path;
		DIR		   *steps;
		struct dirent *step;

		if (!pingpong_key_valid(run->d_name))
			continue;
		path = run_directory(state_dir, run->d_name);
		steps = opendir(path);
		while (steps && (step = readdir(steps)))
			read_record(path, step->d_name, found, arg);
		if (steps)
			closedir(steps);
		free(path);
	}
	if (runs)
		closedir(runs);
	free(root);
	errno = reason;
	return rc;
}

void
journal_remove_job(const char *state_dir, const char *run, const char *step)
{
	char	   *path = xasprintf("%s/jobs/%s/%s.json", state_dir, run, step);

	unlink(path);
	free(path);
}

/* Not its promote token: an old primary may ask for the verdict long after the jobs. */
void
journal_remove_run(const char *state_dir, const char *run)
{
	char	   *path = run_directory(state_dir, run);

	if (remove_tree(path) < 0)
		log_warning("could not remove run \"%s\" from the journal: %s", run, strerror(errno));
	free(path);
}
