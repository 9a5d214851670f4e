/*
 * retry.c
 *		PgBouncer's pause after a failed login, shortened for the time after a run.
 *
 * After one failed login (a server that was killed, or a RELOAD or PAUSE in the middle of it) PgBouncer lets the
 * clients of a pool wait for server_login_retry, 15 s by default, or refuses them. Neither RELOAD nor RESUME ends
 * that. A shorter setting does. So it is lowered when clients are let go on, and restored when they have had the time
 * to connect. An agent that dies in between leaves the low setting until PgBouncer's next RELOAD.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/route/console.h"
#include "agent/route/retry.h"

#define SHORT_RETRY "0.02"
#define SHORT_FOR_MS 3000

/* The lock is held. */
static bool
set_retry(Endpoint *endpoint, const BouncerConfig *bouncer, const char *value)
{
	char		error[256];
	char	   *sql = xasprintf("SET server_login_retry = '%s'", value);
	PGresult   *res = admin_control(endpoint, bouncer, sql, clock_monotonic_ms() + 1000, error, sizeof(error));
	bool		done = res != NULL;

	if (!done)
		log_warning("PgBouncer \"%s\": server_login_retry could not be set: %s", bouncer->name, error);
	PQclear(res);
	free(sql);
	return done;
}

/* What it is now, malloc'd; NULL: nobody knows.  The lock is held. */
static char *
get_retry(Endpoint *endpoint, const BouncerConfig *bouncer)
{
	char		error[256];
	PGresult   *res = admin_control(endpoint, bouncer, "SHOW CONFIG", clock_monotonic_ms() + 1000, error,
									sizeof(error));
	char	   *value = NULL;

	for (int i = 0; res && i < PQntuples(res); i++)
		if (strcmp(PQgetvalue(res, i, 0), "server_login_retry") == 0)
			value = xstrdup(PQgetvalue(res, i, 1));
	PQclear(res);
	return value && strspn(value, "0123456789.") == strlen(value) ? value : (free(value), NULL);
}

void
retry_note(Endpoint *endpoint, const char *value)
{
	if (!value || strspn(value, "0123456789.") != strlen(value) || atof(value) <= atof(SHORT_RETRY))
		return;
	free(endpoint->file_retry);
	endpoint->file_retry = xstrdup(value);
}

const char *
retry_statement(Endpoint *endpoint)
{
	if (!endpoint->file_retry)
		return NULL;
	free(endpoint->login_retry);
	endpoint->login_retry = xstrdup(endpoint->file_retry);
	return "SET server_login_retry = '" SHORT_RETRY "'";
}

/* A RELOAD since the last time has put the setting of the file back. */
static bool
lower(Endpoint *endpoint, const BouncerConfig *bouncer)
{
	char	   *now = get_retry(endpoint, bouncer);
	bool		low = now && atof(now) <= atof(SHORT_RETRY);

	if (!now)
		return false;
	retry_note(endpoint, now);
	free(now);
	if (low)
		return endpoint->login_retry != NULL;
	return retry_statement(endpoint) && set_retry(endpoint, bouncer, SHORT_RETRY);
}

static int
logins(PGresult *pools, json_t *databases)
{
	int			n = 0;

	for (int i = 0; i < PQntuples(pools); i++)
	{
		const char *of_pool = admin_column(pools, i, "sv_login");

		if (of_pool && (!databases || json_object_get(databases, PQgetvalue(pools, i, 0))))
			n += atoi(of_pool);
	}
	return n;
}

/* PAUSE breaks a login off, and so may RELOAD; avoiding that is cheaper than repairing it. */
void
retry_await_logins(Endpoint *endpoint, const BouncerConfig *bouncer, json_t *databases, int limit_ms)
{
	double		limit = clock_monotonic_ms() + limit_ms;

	for (;;)
	{
		char		error[256];
		PGresult   *pools = admin_control(endpoint, bouncer, "SHOW POOLS", limit, error, sizeof(error));
		bool		calm = !pools || logins(pools, databases) == 0;

		PQclear(pools);
		if (calm || clock_monotonic_ms() > limit)
			return;
		sleep_ms(1);
	}
}

static void *
retry_main(void *argument)
{
	Endpoint   *endpoint = argument;
	AgentConfig *config = config_current();
	const BouncerConfig *bouncer = config_bouncer(config, endpoint->name);
	unsigned	turn;
	bool		lowered;

	pthread_mutex_lock(&endpoint->lock);
	turn = ++endpoint->retry_turn;
	lowered = bouncer && lower(endpoint, bouncer);
	pthread_mutex_unlock(&endpoint->lock);
	if (lowered)
		sleep_ms(SHORT_FOR_MS);
	pthread_mutex_lock(&endpoint->lock);
	if (lowered && turn == endpoint->retry_turn)
	{
		set_retry(endpoint, bouncer, endpoint->login_retry);
		free(endpoint->login_retry);
		endpoint->login_retry = NULL;
	}
	pthread_mutex_unlock(&endpoint->lock);
	config_release(config);
	return NULL;
}

void
retry_soon(Endpoint *endpoint)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, retry_main, endpoint) == 0)
		pthread_detach(thread);
}
