/*
 * endpoint.c
 *		One PgBouncer in the memory of the agent: its connections, its pause.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "agent/core/alloc.h"
#include "agent/route/endpoint.h"

static pthread_mutex_t endpoints_lock = PTHREAD_MUTEX_INITIALIZER;
static Endpoint *endpoints;

Endpoint *
endpoint_get(const char *name)
{
	Endpoint   *endpoint;
	pthread_condattr_t attr;

	pthread_mutex_lock(&endpoints_lock);
	for (endpoint = endpoints; endpoint; endpoint = endpoint->next)
		if (strcmp(endpoint->name, name) == 0)
			break;
	if (!endpoint)
	{
		endpoint = xalloc(sizeof(Endpoint));
		endpoint->name = xstrdup(name);
		pthread_mutex_init(&endpoint->lock, NULL);
		pthread_condattr_init(&attr);
		pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
		pthread_cond_init(&endpoint->changed, &attr);
		pthread_condattr_destroy(&attr);
		endpoint->wake_fd = -1;
		endpoint->generation = 1;	/* 0: a pause that has not begun */
		endpoint->next = endpoints;
		endpoints = endpoint;
	}
	pthread_mutex_unlock(&endpoints_lock);
	return endpoint;
}

void
endpoint_end_pause(Endpoint *endpoint)
{
	endpoint->generation++;
	json_decref(endpoint->paused);
	endpoint->paused = NULL;
	free(endpoint->pause_run);
	endpoint->pause_run = NULL;
	pthread_cond_broadcast(&endpoint->changed);
	if (endpoint->wake_fd >= 0)
		eventfd_write(endpoint->wake_fd, 1);
	endpoint->wake_fd = -1;
}

void
endpoint_add_pause(Endpoint *endpoint, const char *run, json_t *databases)
{
	if (!endpoint->paused)
	{
		endpoint->paused = json_object();
		endpoint->pause_run = run ? xstrdup(run) : NULL;
	}
	json_object_update(endpoint->paused, databases);
}

void
endpoint_close_pausers(Endpoint *endpoint)
{
	while (endpoint->n_pausers > 0)
		PQfinish(endpoint->pausers[--endpoint->n_pausers]);
	free(endpoint->pausers_run);
	endpoint->pausers_run = NULL;
}

void
endpoint_note_ended(Endpoint *endpoint, const char *run, json_t *databases)
{
	if (!endpoint->ended_run || strcmp(endpoint->ended_run, run) != 0)
	{
		free(endpoint->ended_run);
		json_decref(endpoint->ended);
		endpoint->ended_run = xstrdup(run);
		endpoint->ended = json_object();
	}
	json_object_update(endpoint->ended, databases);
}

bool
endpoint_has_ended(Endpoint *endpoint, const char *run, json_t *databases)
{
	const char *name;
	json_t	   *unused;

	if (endpoint->ended_run && strcmp(endpoint->ended_run, run) == 0)
		json_object_foreach(databases, name, unused)
			if (json_object_get(endpoint->ended, name))
				return true;
	return false;
}
