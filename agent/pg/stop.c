/*
 * stop.c
 *		The end of a server's life as a primary.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/pg/control.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/stop.h"
#include "common/sqlstate.h"

#define QUERY_TIMEOUT_MS 10000
#define STOP_TIMEOUT_MS 10000
#define SESSIONS_GO_MS 300
#define REMAINS_GO_MS 10000
#define POLL_MS 5

/* A data directory that somebody has. By its path: jobs of before and after a reload have different instances. */
typedef struct Claim
{
	struct Claim *next;
	char	   *data;
} Claim;

static pthread_mutex_t claims_lock = PTHREAD_MUTEX_INITIALIZER;
static Claim *claims;

static int
count(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	int			n = value ? atoi(value) : 0;

	free(value);
	return n;
}

static void
end_sessions(ActionContext *ctx, PGconn *conn, int readers_grace_ms)
{
	double		grace = clock_monotonic_ms() + readers_grace_ms;
	double		gone;

	action_progress(ctx, -1, "waiting for readers");
	while (clock_monotonic_ms() < grace && !action_cancelled(ctx) &&
		   count(conn, "SELECT count(*) " SERVER_BUSY_SESSIONS) > 0)
		sleep_ms(POLL_MS);
	/* each is told that it is ended (57P01), which an immediate stop would not do in good order */
	PQclear(pg_query(conn, NULL, 0, "SELECT pg_catalog.pg_terminate_backend(pid) " SERVER_OTHER_SESSIONS, 0, NULL));
	gone = clock_monotonic_ms() + SESSIONS_GO_MS;
	while (clock_monotonic_ms() < gone && count(conn, "SELECT count(*) " SERVER_OTHER_SESSIONS) > 0)
		sleep_ms(1);
}

/* A zombie alone writes nothing. */
int
server_await_remains(ActionContext *ctx, double deadline)
{
	double		limit = clock_monotonic_ms() + REMAINS_GO_MS;
	const char *data = ctx->pg->data;

	limit = limit < deadline ? limit : deadline;
	while ((postmaster_has_remains(data) || !postmaster_gone(data)) && clock_monotonic_ms() < limit &&
		   !action_cancelled(ctx))
		sleep_ms(POLL_MS);
	if (postmaster_gone(data))
		return 0;
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "processes of a server that is gone still use \"%s\"", data);
	action_hint(ctx, "End the processes whose working directory this is; then try again.");
	return -1;
}

/* With a command it may run where its processes cannot be seen. */
bool
server_is_stopped(const PgInstance *pg)
{
	return pg->control != PG_CONTROL_COMMAND && !control_running(pg) && postmaster_gone(pg->data);
}

/* The lock is held. Its place in the list, or the list's end. */
static Claim **
find_claim(const char *data)
{
	Claim	  **claim = &claims;

	while (*claim && strcmp((*claim)->data, data) != 0)
		claim = &(*claim)->next;
	return claim;
}

bool
server_claim(const char *data)
{
	Claim	  **claim;
	bool		is_free;

	pthread_mutex_lock(&claims_lock);
	claim = find_claim(data);
	is_free = *claim == NULL;
	if (is_free)
	{
		*claim = xalloc(sizeof(Claim));
		(*claim)->data = xstrdup(data);
	}
	pthread_mutex_unlock(&claims_lock);
	return is_free;
}

void
server_release(const char *data)
{
	Claim	  **claim;
	Claim	   *gone;

	pthread_mutex_lock(&claims_lock);
	claim = find_claim(data);
	gone = *claim;
	*claim = gone->next;
	pthread_mutex_unlock(&claims_lock);
	free(gone->data);
	free(gone);
}

int
server_claim_wait(ActionContext *ctx, const char *data, int timeout_ms)
{
	double		limit = clock_monotonic_ms() + timeout_ms;

	while (!server_claim(data))
	{
		if (action_cancelled(ctx) || clock_monotonic_ms() > limit)
			return action_fail(ctx, STATE_OBJECT_IN_USE, "another job works in \"%s\"", data);
		sleep_ms(POLL_MS);
	}
	return 0;
}

int
server_stop(ActionContext *ctx, bool primary, int readers_grace_ms, double deadline, json_t *result)
{
	PGconn	   *conn;
	char	   *lsn;

	if (control_running(ctx->pg))
	{
		conn = pg_local(ctx->pg, NULL, QUERY_TIMEOUT_MS, NULL, 0);
		if (conn && primary)
		{
			end_sessions(ctx, conn, readers_grace_ms);
			lsn = pg_value(conn, "SELECT pg_catalog.pg_current_wal_insert_lsn()");
			if (lsn)
				json_object_set_new(result, "stop_lsn", json_string(lsn));
			free(lsn);
		}
		PQfinish(conn);
		action_progress(ctx, -1, "stopping");
		if (control_stop(ctx, true, STOP_TIMEOUT_MS) < 0)
			return -1;
		json_object_set_new(result, "stopped_ms", json_real(clock_realtime_ms()));
	}
	return server_await_remains(ctx, deadline);
}
