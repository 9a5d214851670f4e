/*
 * pause.c
 *		The end that every pause carries.
 *
 * A paused PgBouncer whose controller died stays paused for ever.  So a pause has a
 * deadline, written to state_dir/pause/ENDPOINT.json before the first PAUSE is sent, and
 * a thread that resumes when it has passed; a restarted agent finds the file.  There is
 * no fsync: a pause does not survive the host's crash either.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/endpoint.h"
#include "agent/pgbouncer.h"
#include "agent/text.h"

#define BACKEND_WAIT_MS 5000
#define RESUME_TIMEOUT_MS 60000

typedef struct Guard
{
	Endpoint   *endpoint;
	json_t	   *databases;
	double		deadline_ms;	/* CLOCK_REALTIME */
	unsigned	generation;
} Guard;

static char *
mark_path(const AgentConfig *config, const char *name)
{
	return xasprintf("%s/pause/%s.json", config->state_dir, name);
}

int
pause_mark(const AgentConfig *config, Endpoint *endpoint, json_t *databases, double deadline_ms)
{
	json_t	   *record = json_pack("{s:s, s:f, s:O}", "endpoint", endpoint->name, "deadline_ms", deadline_ms,
								   "databases", databases);
	char	   *text = json_dumps(record, JSON_COMPACT);
	char	   *path = mark_path(config, endpoint->name);
	char	   *directory = xasprintf("%s/pause", config->state_dir);
	int			rc = make_directory(directory, 0700);

	if (rc == 0)
		rc = file_write_atomic(path, text, strlen(text), 0600, false);
	free(directory);
	free(path);
	free(text);
	json_decref(record);
	return rc;
}

void
pause_clear(const AgentConfig *config, Endpoint *endpoint)
{
	char	   *path = mark_path(config, endpoint->name);

	unlink(path);
	free(path);
}

/* The place that the file points to, with one of the databases; NULL: not known. */
static char *
backend_of_file(const BouncerConfig *bouncer, json_t *databases)
{
	char	   *text = file_read(bouncer->file, 1024 * 1024, NULL);
	char	   *conninfo = NULL;
	const char *name;
	json_t	   *unused;

	json_object_foreach(databases, name, unused)
	{
		char	   *line = text && !conninfo ? bouncer_line(text, name) : NULL;
		char	   *host = line ? conninfo_get(line, "host") : NULL;
		char	   *port = line ? conninfo_get(line, "port") : NULL;

		if (host)
			conninfo = conninfo_merge("connect_timeout=1", NULL, host, port ? port : "5432", NULL);
		free(host);
		free(port);
		free(line);
	}
	free(text);
	return conninfo;
}

/*
 * A pooler that is let at a server which refuses it makes its clients wait for
 * server_login_retry (15 s); so we look first, but not for ever.
 */
static void
wait_backend(const BouncerConfig *bouncer, json_t *databases)
{
	char	   *conninfo = backend_of_file(bouncer, databases);
	double		deadline = clock_monotonic_ms() + BACKEND_WAIT_MS;

	while (conninfo && clock_monotonic_ms() < deadline && PQping(conninfo) != PQPING_OK)
		sleep_ms(50);
	free(conninfo);
}

static void
resume_late(Guard *guard)
{
	AgentConfig *config = config_current();
	const BouncerConfig *bouncer = config_bouncer(config, guard->endpoint->name);
	char		error[256] = "it is no longer configured";
	int			rc = -1;

	if (bouncer)
		wait_backend(bouncer, guard->databases);
	pthread_mutex_lock(&guard->endpoint->lock);
	if (guard->generation == guard->endpoint->generation)
	{
		if (bouncer)
			rc = admin_resume(guard->endpoint, bouncer, guard->databases, clock_monotonic_ms() + RESUME_TIMEOUT_MS,
							  error, sizeof(error));
		if (rc == 0)
			log_warning("PgBouncer \"%s\": the pause had no end in time, resumed", guard->endpoint->name);
		else
			log_error("PgBouncer \"%s\" could not be resumed: %s", guard->endpoint->name, error);
		pause_clear(config, guard->endpoint);
		endpoint_end_pause(guard->endpoint);
	}
	pthread_mutex_unlock(&guard->endpoint->lock);
	config_release(config);
}

static void *
guard_main(void *argument)
{
	Guard	   *guard = argument;
	Endpoint   *endpoint = guard->endpoint;
	struct timespec until = {(time_t) (guard->deadline_ms / 1000),
	(long) ((guard->deadline_ms - (double) (time_t) (guard->deadline_ms / 1000) * 1000) * 1e6)};
	int			rc = 0;

	pthread_mutex_lock(&endpoint->lock);
	while (rc == 0 && guard->generation == endpoint->generation)
		rc = pthread_cond_timedwait(&endpoint->changed, &endpoint->lock, &until);
	pthread_mutex_unlock(&endpoint->lock);
	if (rc != 0)
		resume_late(guard);
	json_decref(guard->databases);
	free(guard);
	return NULL;
}

void
pause_guard(Endpoint *endpoint, json_t *databases, double deadline_ms)
{
	Guard	   *guard = xalloc(sizeof(Guard));
	pthread_t	thread;

	guard->endpoint = endpoint;
	guard->databases = json_deep_copy(databases);
	guard->deadline_ms = deadline_ms;
	guard->generation = endpoint->generation;
	if (pthread_create(&thread, NULL, guard_main, guard) != 0)
		abort();				/* the mark is on disk: the next start resumes */
	pthread_detach(thread);
}

static void
load_mark(const AgentConfig *config, const char *name)
{
	char	   *path = mark_path(config, name);
	char	   *text = file_read(path, 1024 * 1024, NULL);
	json_t	   *record = text ? json_loads(text, 0, NULL) : NULL;
	json_t	   *databases = json_object_get(record, "databases");

	if (json_is_object(databases))
	{
		Endpoint   *endpoint = endpoint_get(name);

		log_info("PgBouncer \"%s\": found a pause of before the restart", name);
		pthread_mutex_lock(&endpoint->lock);
		pause_guard(endpoint, databases, json_number_value(json_object_get(record, "deadline_ms")));
		pthread_mutex_unlock(&endpoint->lock);
	}
	json_decref(record);
	free(text);
	free(path);
}

void
pgbouncer_start(void)
{
	AgentConfig *config = config_current();
	char	   *directory = xasprintf("%s/pause", config->state_dir);
	DIR		   *dir = opendir(directory);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
	{
		size_t		len = strlen(entry->d_name);

		if (len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0)
		{
			entry->d_name[len - 5] = '\0';
			load_mark(config, entry->d_name);
		}
	}
	if (dir)
		closedir(dir);
	free(directory);
	config_release(config);
}
