/*
 * endpoint.c
 *		PgBouncer's admin console: connections, statements with limits, RESUME.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/text.h"
#include "agent/endpoint.h"

#define RETRY_MS 20

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

int
admin_timeout_ms(const BouncerConfig *bouncer)
{
	return bouncer->query_timeout_ms > 0 ? bouncer->query_timeout_ms : ADMIN_TIMEOUT_MS;
}

PGconn *
admin_connect(const BouncerConfig *bouncer, char *error, size_t error_size)
{
	return pg_remote(bouncer->admin, NULL, 0, false, error, error_size);
}

/* Waits for the connection's answer; false: not in time, or the connection broke. */
static bool
wait_answer(PGconn *conn, double deadline)
{
	while (PQisBusy(conn))
	{
		struct pollfd fd = {PQsocket(conn), POLLIN, 0};
		double		left = deadline - clock_monotonic_ms();

		if (left <= 0)
			return false;
		if (poll(&fd, 1, (int) left + 1) < 0 && errno != EINTR)
			return false;
		if (fd.revents && !PQconsumeInput(conn))
			return false;
	}
	return true;
}

PGresult *
admin_query(PGconn *conn, const char *sql, int timeout_ms, char *error, size_t error_size)
{
	PGresult   *res = NULL;
	PGresult   *next;
	bool		answered = PQsendQuery(conn, sql) && wait_answer(conn, clock_monotonic_ms() + timeout_ms);

	error[0] = '\0';
	if (answered)
	{
		res = PQgetResult(conn);
		while ((next = PQgetResult(conn)))
			PQclear(next);
	}
	if (res && (PQresultStatus(res) == PGRES_TUPLES_OK || PQresultStatus(res) == PGRES_COMMAND_OK))
		return res;
	snprintf(error, error_size, "%s", !answered ? "PgBouncer does not answer" : PQerrorMessage(conn));
	error[strcspn(error, "\r\n")] = '\0';
	PQclear(res);
	return NULL;
}

PGresult *
admin_control(Endpoint *endpoint, const BouncerConfig *bouncer, const char *sql, double deadline,
			  char *error, size_t error_size)
{
	for (;;)
	{
		PGresult   *res;

		if (!endpoint->control)
			endpoint->control = admin_connect(bouncer, error, error_size);
		if (endpoint->control)
		{
			double		left = deadline - clock_monotonic_ms();
			int			limit = left > 100 ? (int) left : 100;

			if (limit > admin_timeout_ms(bouncer))
				limit = admin_timeout_ms(bouncer);
			res = admin_query(endpoint->control, sql, limit, error, error_size);
			if (res)
				return res;
			if (PQstatus(endpoint->control) == CONNECTION_OK &&
				PQtransactionStatus(endpoint->control) == PQTRANS_IDLE)
				return NULL;	/* a plain refusal */
			PQfinish(endpoint->control);
			endpoint->control = NULL;
		}
		if (clock_monotonic_ms() + RETRY_MS > deadline)
			return NULL;
		sleep_ms(RETRY_MS);
	}
}

char *
admin_command(const char *verb, const char *database)
{
	return xasprintf("%s \"%s\"", verb, database);
}

/* RELOAD if wanted, RESUME of each, and what may only come behind the RELOAD */
static char **
resume_statements(Endpoint *endpoint, json_t *databases, bool reload)
{
	char	  **statements = xalloc(sizeof(char *) * (json_object_size(databases) + 3));
	const char *retry = reload ? retry_statement(endpoint) : NULL;
	const char *name;
	json_t	   *unused;
	int			n = 0;

	if (reload)
		statements[n++] = xstrdup("RELOAD");
	json_object_foreach(databases, name, unused)
		statements[n++] = admin_command("RESUME", name);
	if (retry)
		statements[n++] = xstrdup(retry);
	return statements;
}

int
admin_resume(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, bool reload, double deadline,
			 char *refusal, size_t refusal_size, char *error, size_t error_size)
{
	char	  **statements = resume_statements(endpoint, databases, reload);
	int			n = text_list_length(statements);
	BurstAnswer *answers = xalloc(sizeof(BurstAnswer) * (n + 1));
	int			rc = burst_run(endpoint, bouncer, statements, answers, deadline, error, error_size);

	refusal[0] = '\0';
	if (rc == 0 && reload)
		snprintf(refusal, refusal_size, "%s", answers[0].error);
	for (int i = reload; rc == 0 && i < n && i < (int) json_object_size(databases) + reload; i++)
		if (!answers[i].ok && !strstr(answers[i].error, "not paused"))
		{
			snprintf(error, error_size, "%s: %s", statements[i], answers[i].error);
			rc = -1;
		}
	text_free_list(statements);
	free(answers);
	return rc;
}
