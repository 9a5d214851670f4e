/*
 * pause.c
 *		The end that every pause carries.
 *
 * A PgBouncer whose controller died would stay paused for ever. So a pause has an end. It is written to
 * state_dir/pause/ENDPOINT.json before the first PAUSE is sent, and a thread resumes when it has passed. A restarted
 * agent finds the file. There is no fsync, because a pause does not survive a crash of the host either.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/params.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/route/pause.h"
#include "agent/route/proof.h"
#include "agent/route/resume.h"

#define BACKEND_WAIT_MS 5000
#define RESUME_TIMEOUT_MS 10000
#define RESUME_AGAIN_MS 5000
#define LOOK_MS 1000			/* how often a guard looks at the clocks: they may be set, or have stood still */

typedef struct Guard
{
	Endpoint   *endpoint;
	json_t	   *databases;
	PauseEnd	end;
	unsigned	generation;
} Guard;

PauseEnd
pause_end_in(double ms)
{
	PauseEnd	end = {.real_ms = clock_realtime_ms() + ms, .boot_ms = clock_boottime_ms() + ms};

	host_boot_id(end.boot_id, sizeof(end.boot_id));
	return end;
}

/* A pause of before a restart of the host is over: its PgBouncer was restarted, too. */
double
pause_left_ms(const PauseEnd *end)
{
	double		left = end->real_ms - clock_realtime_ms();
	double		left_boot = end->boot_ms - clock_boottime_ms();
	char		boot_id[sizeof(end->boot_id)];

	if (end->boot_ms == 0)
		return left;
	host_boot_id(boot_id, sizeof(boot_id));
	if (strcmp(boot_id, end->boot_id) != 0)
		return 0;
	return left < left_boot ? left : left_boot;
}

static char *
mark_path(const AgentConfig *config, const char *name)
{
	return xasprintf("%s/pause/%s.json", config->state_dir, name);
}

int
pause_mark(const AgentConfig *config, Endpoint *endpoint, json_t *databases, const PauseEnd *end)
{
	json_t	   *record = json_pack("{s:s, s:f, s:f, s:s, s:O}", "endpoint", endpoint->name, "deadline_ms",
								   end->real_ms,
								   "deadline_boot_ms", end->boot_ms, "boot_id", end->boot_id, "databases", databases);
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
		char	   *line = text && !conninfo ? bouncer_entry(text, name) : NULL;
		char	   *host = line ? bouncer_value(line, "host") : NULL;
		char	   *port = line ? bouncer_value(line, "port") : NULL;

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

/*
 * All that is paused, also what another order of the same run has added.  The lock is held;
 * 0, or -1: to be tried again.
 */
static int
resume_all(const AgentConfig *config, const BouncerConfig *bouncer, Endpoint *endpoint)
{
	char		error[256] = "it is no longer configured";
	char		unused[8];
	int			rc = bouncer ? admin_resume(endpoint, bouncer, endpoint->paused, false,
											clock_monotonic_ms() + RESUME_TIMEOUT_MS,
											unused, sizeof(unused), error, sizeof(error)) : -1;

	if (rc < 0)
	{
		log_error("PgBouncer \"%s\" could not be resumed, trying again: %s", endpoint->name, error);
		return -1;
	}
	log_warning("PgBouncer \"%s\": the pause had no end in time, resumed", endpoint->name);
	pause_clear(config, endpoint);
	endpoint_end_pause(endpoint);
	return 0;
}

/* Until it is done: nobody else may come, and clients that wait here wait for ever. */
static void
resume_late(Guard *guard)
{
	Endpoint   *endpoint = guard->endpoint;
	int			rc = -1;

	while (rc < 0)
	{
		AgentConfig *config = config_current();	/* each time: a reload may have corrected it */
		const BouncerConfig *bouncer = config_bouncer(config, endpoint->name);

		if (bouncer)
			wait_backend(bouncer, guard->databases);
		pthread_mutex_lock(&endpoint->lock);
		rc = guard->generation == endpoint->generation ? resume_all(config, bouncer, endpoint) : 0;
		pthread_mutex_unlock(&endpoint->lock);
		config_release(config);
		if (rc < 0)
			sleep_ms(RESUME_AGAIN_MS);
	}
}

/* The lock is held. */
static void
wait_changed(Endpoint *endpoint, double ms)
{
	double		at = clock_monotonic_ms() + ms;
	struct timespec until = {(time_t) (at / 1000), (long) ((at - (double) (time_t) (at / 1000) * 1000) * 1e6)};

	pthread_cond_timedwait(&endpoint->changed, &endpoint->lock, &until);
}

static void *
guard_main(void *argument)
{
	Guard	   *guard = argument;
	Endpoint   *endpoint = guard->endpoint;
	double		left = 1;

	pthread_mutex_lock(&endpoint->lock);
	while (guard->generation == endpoint->generation && (left = pause_left_ms(&guard->end)) > 0)
		wait_changed(endpoint, left < LOOK_MS ? left : LOOK_MS);
	pthread_mutex_unlock(&endpoint->lock);
	if (left <= 0)
		resume_late(guard);
	json_decref(guard->databases);
	free(guard);
	return NULL;
}

void
pause_guard(Endpoint *endpoint, json_t *databases, const PauseEnd *end)
{
	Guard	   *guard = xalloc(sizeof(Guard));
	pthread_t	thread;

	guard->endpoint = endpoint;
	guard->databases = json_deep_copy(databases);
	guard->end = *end;
	guard->generation = endpoint->generation;
	endpoint->pause_end = *end;
	if (pthread_create(&thread, NULL, guard_main, guard) != 0)
		abort();				/* the mark is on disk: the next start resumes */
	pthread_detach(thread);
}

static void
load_mark(const AgentConfig *config, const char *name)
{
	char	   *path = mark_path(config, name);
	char	   *text = file_read(path, 1024 * 1024, NULL);
	int			reason = errno;
	json_t	   *record = text ? json_loads(text, 0, NULL) : NULL;
	json_t	   *databases = json_object_get(record, "databases");

	if (json_is_object(databases))
	{
		Endpoint   *endpoint = endpoint_get(name);
		PauseEnd	end = {.real_ms = json_number_value(json_object_get(record, "deadline_ms")),
		.boot_ms = json_number_value(json_object_get(record, "deadline_boot_ms"))};

		snprintf(end.boot_id, sizeof(end.boot_id), "%s", param_string(record, "boot_id", ""));
		log_info("PgBouncer \"%s\": found a pause of before the restart", name);
		pthread_mutex_lock(&endpoint->lock);
		endpoint_add_pause(endpoint, NULL, databases);
		pause_guard(endpoint, databases, &end);
		pthread_mutex_unlock(&endpoint->lock);
	}
	else						/* which databases is not known, and nobody else resumes them */
		log_error("PgBouncer \"%s\" may be paused, and \"%s\" cannot be read: %s; see SHOW "
				  "DATABASES there, and RESUME",
				  name, path, text ? "it is not the mark of a pause" : strerror(reason));
	json_decref(record);
	free(text);
	free(path);
}

/* Of a run that was cut off in its preparations. */
static void
clean_file(const BouncerConfig *bouncer)
{
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	char		why[512];

	pthread_mutex_lock(&endpoint->lock);
	if (!endpoint->stage.run)	/* else a resumed job has been faster */
		bouncer_file_discard(bouncer->file);
	if (proof_clean(bouncer, why, sizeof(why)) < 0)
		log_warning("PgBouncer \"%s\": %s", bouncer->name, why);
	pthread_mutex_unlock(&endpoint->lock);
}

void
pgbouncer_start(void)
{
	AgentConfig *config = config_current();
	char	   *directory = xasprintf("%s/pause", config->state_dir);
	DIR		   *dir;
	struct dirent *entry;

	for (int i = 0; i < config->n_bouncers; i++)
		clean_file(&config->bouncers[i]);
	dir = opendir(directory);
	if (!dir && errno != ENOENT)
		log_error("\"%s\" cannot be read, so what is paused there is not known: %s", directory, strerror(errno));
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
