/*
 * watcher.c
 *		Reads pingpong.snapshot() of the main instance, so that metrics and the status page cost no query.
 *
 * Not the sampler's thread: that one answers GET /health, which must not wait for a longer statement.
 */
#include <pthread.h>
#include <stdio.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/core/picture.h"
#include "agent/pg/pg.h"
#include "agent/pg/session.h"
#include "agent/pg/watcher.h"

#define LOOK_TIMEOUT_MS 2000

static OwnSession session = {.timeout_ms = LOOK_TIMEOUT_MS};

/* False, with why. Where there is no such function it is not called: the server would log an error each time. */
static bool
look(const PgInstance *pg, char *why, size_t why_size)
{
	double		began = clock_monotonic_ms();
	PGresult   *res;
	bool		read;

	if (session_open(&session, pg, why, why_size) != SESSION_OPEN)
		return false;
	if (!pg_is_true(session.conn, "SELECT pg_catalog.to_regprocedure('pingpong.snapshot()') IS NOT NULL"))
	{
		snprintf(why, why_size, "%s", PQstatus(session.conn) == CONNECTION_OK ?
				 "it has no function pingpong.snapshot()" : "it does not answer in time");
		return false;
	}
	res = pg_query(session.conn, why, why_size, "SELECT pingpong.snapshot()", 0, NULL);
	read = res && PQntuples(res) == 1 && !PQgetisnull(res, 0, 0);
	if (read)
		picture_put(xstrdup(PQgetvalue(res, 0, 0)), clock_monotonic_ms() - began);
	PQclear(res);
	return read;
}

static void
look_once(void)
{
	AgentConfig *config = config_current();
	const PgInstance *pg = config_instance(config, "");
	char		why[256] = "this agent has no PostgreSQL";

	if (!pg || !look(pg, why, sizeof(why)))
	{
		picture_failed(why);
		session_close(&session);
	}
	config_release(config);
}

static void *
watcher_main(void *unused)
{
	for (;;)
	{
		picture_await_wish();
		while (picture_is_wanted())
		{
			look_once();
			sleep_ms(PICTURE_EACH_MS);
		}
		session_close(&session);
	}
	return NULL;
}

void
watcher_start(void)
{
	pthread_t	thread;

	if (pthread_create(&thread, NULL, watcher_main, NULL) != 0)
		log_error("could not start a thread: metrics and the status page say nothing of the server");
	else
		pthread_detach(thread);
}
