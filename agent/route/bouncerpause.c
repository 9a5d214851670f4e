/*
 * bouncerpause.c
 *		hold: PAUSE.
 *
 * PAUSE is answered when the last transaction (transaction pooling) or client (session pooling) has gone. So it has a
 * connection of its own, and its answer is not needed: the control connection asks PgBouncer. RESUME does not wake a
 * waiting PAUSE, so its connection is closed then. KILL is never used.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/text.h"
#include "agent/job/params.h"
#include "agent/route/bouncerorder.h"
#include "agent/route/bouncerpause.h"
#include "agent/route/burst.h"
#include "agent/route/console.h"
#include "agent/route/endpoint.h"
#include "agent/route/pause.h"
#include "agent/route/retry.h"
#include "common/sqlstate.h"

#define RESUME_AFTER_MS 30000
#define EFFECT_MS 1000			/* for PgBouncer to say that it is paused */
#define LOGINS_MS 100
#define LOOK_MS 5				/* for PAUSE to return, before the console is asked what it waits for */
#define ANSWER_MS 2				/* PAUSE of a database without server connections returns sooner */

typedef struct Pause
{
	PGconn	   *conn;			/* where PAUSE was sent */
	BurstReader reader;
	double		sent_ms;		/* monotonic */
	bool		complete;		/* no client of our databases has a server any more */
	int			wake_fd;
	unsigned	generation;
} Pause;

static char **
pause_statements(json_t *databases)
{
	char	  **statements = xalloc(sizeof(char *) * (json_object_size(databases) + 1));
	const char *name;
	json_t	   *unused;
	int			n = 0;

	json_object_foreach(databases, name, unused)
		statements[n++] = admin_command("PAUSE", name);
	return statements;
}

/*
 * One by one, where all at once cannot be sent.  A console that does not answer at once is of no use to libpq, and
 * left: its PAUSE stays.
 */
static int
send_singly(Order *order, Pause *pause, char *const *statements, char *error, size_t error_size)
{
	for (int i = 0; statements[i]; i++)
	{
		PGresult   *res;

		if (!pause->conn)
			pause->conn = admin_connect(order->bouncer, error, error_size);
		if (!pause->conn)
			return -1;
		res = admin_query(pause->conn, statements[i], ANSWER_MS, error, error_size);
		if (!res)
		{
			PQfinish(pause->conn);
			pause->conn = NULL;
		}
		PQclear(res);
	}
	return 0;
}

/* The connection of prepare may have died with its PgBouncer: then a new one, once. */
static int
send_pause(ActionContext *ctx, Order *order, Pause *pause)
{
	char	  **statements = pause_statements(order->databases);
	char		error[256] = "could not send";
	int			rc = -1;

	if (order->endpoint->n_pausers > 0)
		pause->conn = order->endpoint->pausers[--order->endpoint->n_pausers];
	for (int i = 0; i < 2 && rc < 0; i++)
	{
		if (!pause->conn)
			pause->conn = admin_connect(order->bouncer, error, sizeof(error));
		if (!pause->conn)
			break;
		if (burst_possible(pause->conn))
			rc = burst_send(pause->conn, statements, &pause->reader, order->deadline);
		else if (PQstatus(pause->conn) == CONNECTION_OK)
			rc = send_singly(order, pause, statements, error, sizeof(error));
		if (rc < 0)
		{
			PQfinish(pause->conn);
			pause->conn = NULL;
		}
	}
	text_free_list(statements);
	if (rc < 0)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	return 0;
}

/*
 * Two routes of one run are one pause.  The pause of a former run is over, but what it
 * has left paused comes under the new guard: nobody else would resume it.  Where the new
 * pause cannot be noted, the former one keeps its guard, and nothing has begun.
 */
static int
begin_pause(ActionContext *ctx, Order *order, const PauseEnd *end)
{
	Endpoint   *endpoint = order->endpoint;
	json_t	   *all = json_copy(order->databases);
	int			rc;

	if (endpoint->paused)
		json_object_update_missing(all, endpoint->paused);
	rc = pause_mark(ctx->config, endpoint, all, end);
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not note the pause: %s", strerror(errno));
	else
	{
		if (!endpoint->pause_run || strcmp(endpoint->pause_run, ctx->run) != 0)
			endpoint_end_pause(endpoint);
		endpoint_add_pause(endpoint, ctx->run, all);
		pause_guard(endpoint, all, end);
	}
	json_decref(all);
	return rc;
}

/* The first database that PgBouncer does not call paused, or NULL. */
static const char *
not_paused(Order *order, PGresult *shown)
{
	const char *name;
	json_t	   *unused;

	json_object_foreach(order->databases, name, unused)
	{
		int			row = admin_row(shown, name);
		const char *paused = row < 0 ? NULL : admin_column(shown, row, "paused");

		if (!paused || atoi(paused) == 0)
			return name;
	}
	return NULL;
}

/*
 * PgBouncer itself says that it lets nobody at a server any more.  It reads our PAUSE and this question from
 * different connections, in any order.
 */
static int
await_effect(ActionContext *ctx, Order *order, Pause *pause)
{
	double		limit = clock_monotonic_ms() + EFFECT_MS;

	for (;;)
	{
		PGresult   *shown = order_control(ctx, order, "SHOW DATABASES");
		const char *open = shown ? not_paused(order, shown) : NULL;

		PQclear(shown);
		if (!shown)
			return -1;
		if (!open)
			return 0;
		if (pause->conn && burst_possible(pause->conn))
			burst_read(pause->conn, &pause->reader);
		if (clock_monotonic_ms() > limit)
			return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							   "PgBouncer \"%s\" has not paused database \"%s\"%s%s",
							   order->bouncer->name, open, pause->reader.first_error[0] ? ": " : "",
							   pause->reader.first_error);
		sleep_ms(1);
	}
}

/* The lock is held: a commit comes before all of this, or after it. */
static int
send_all(ActionContext *ctx, Order *order, Pause *pause, const PauseEnd *end)
{
	Endpoint   *endpoint = order->endpoint;
	int			rc;

	retry_await_logins(endpoint, order->bouncer, order->databases, LOGINS_MS);
	if (begin_pause(ctx, order, end) < 0)
		return -1;
	pause->generation = endpoint->generation;
	pause->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (endpoint->wake_fd < 0)
		endpoint->wake_fd = pause->wake_fd; /* a second one notices the end by its polls */
	rc = send_pause(ctx, order, pause);
	pause->sent_ms = clock_monotonic_ms();
	return rc == 0 ? await_effect(ctx, order, pause) : rc;
}

/* As a whole, or for our databases: PgBouncer does not answer a PAUSE that was resumed. */
static bool
pause_over(Order *order, const Pause *pause)
{
	Endpoint   *endpoint = order->endpoint;
	const char *name;
	json_t	   *unused;
	bool		over = true;

	pthread_mutex_lock(&endpoint->lock);
	if (endpoint->generation == pause->generation)
		json_object_foreach(order->databases, name, unused)
			if (json_object_get(endpoint->paused, name))
				over = false;
	pthread_mutex_unlock(&endpoint->lock);
	return over;
}

static bool
in_list(json_t *list, int number)
{
	json_t	   *one;
	size_t		i;

	json_array_foreach(list, i, one)
		if (json_integer_value(one) == number)
			return true;
	return false;
}

static bool
is_session_pool(PGresult *pools, const char *database, const char *user)
{
	for (int i = 0; i < PQntuples(pools); i++)
	{
		const char *mode = admin_column(pools, i, "pool_mode");

		if (mode && strcmp(mode, "session") == 0 && strcmp(PQgetvalue(pools, i, 0), database) == 0 &&
			strcmp(PQgetvalue(pools, i, 1), user) == 0)
			return true;
	}
	return false;
}

/* Does this server connection keep a statement or a transaction that is to be waited for? */
static bool
holds_up(Order *order, PGresult *servers, int row, PGresult *pools, json_t *ignore)
{
	const char *database = admin_column(servers, row, "database");
	const char *user = admin_column(servers, row, "user");
	const char *link = admin_column(servers, row, "link");
	const char *pid = admin_column(servers, row, "remote_pid");

	return database && user && link && link[0] && json_object_get(order->databases, database) &&
		!is_session_pool(pools, database, user) && !in_list(ignore, pid ? atoi(pid) : 0);
}

/* Server connections that PAUSE waits for */
static int
busy_servers(PGresult *pools, json_t *databases)
{
	int			n = 0;

	for (int i = 0; i < PQntuples(pools); i++)
	{
		const char *active = admin_column(pools, i, "sv_active");
		const char *tested = admin_column(pools, i, "sv_tested");

		if (json_object_get(databases, PQgetvalue(pools, i, 0)))
			n += (active ? atoi(active) : 0) + (tested ? atoi(tested) : 0);
	}
	return n;
}

/*
 * Is it over: are all through (pause->complete), or those that are left such that the asker does not wait for them?
 * The pooler knows it best: a client keeps its server from the moment that its statement leaves for it.  -1: the job
 * has failed.
 */
static int
look_at_servers(ActionContext *ctx, Order *order, Pause *pause, json_t *ignore)
{
	PGresult   *pools;
	PGresult   *servers = NULL;
	int			over = -1;

	order_lock(order);
	pools = order_control(ctx, order, "SHOW POOLS");
	pause->complete = pools && busy_servers(pools, order->databases) == 0;
	if (pools)
		over = pause->complete;
	if (over == 0 && ignore && clock_monotonic_ms() - pause->sent_ms >= LOOK_MS)
	{
		servers = order_control(ctx, order, "SHOW SERVERS");
		over = servers ? 1 : -1;
		for (int i = 0; servers && i < PQntuples(servers) && over == 1; i++)
			over = !holds_up(order, servers, i, pools, ignore);
	}
	pthread_mutex_unlock(&order->endpoint->lock);
	PQclear(servers);
	PQclear(pools);
	return over;
}

/*
 * PgBouncer says on the console of the PAUSE that all are through; or somebody has ended the pause; or a while is
 * over.
 */
static void
wait_a_while(Pause *pause, int ms)
{
	struct pollfd fds[2] = {{pause->conn ? PQsocket(pause->conn) : -1, POLLIN, 0}, {pause->wake_fd, POLLIN, 0}};

	poll(fds, 2, ms);
	if (fds[0].revents && (!burst_possible(pause->conn) || burst_read(pause->conn, &pause->reader) < 0))
	{
		PQfinish(pause->conn);	/* the PAUSE stays; PgBouncer is asked on another connection */
		pause->conn = NULL;
	}
}

/*
 * Until all are through, somebody has ended the pause, or the asker's patience is over: with `ignore` (a list of
 * server processes), when only those and clients in session pooling are left.
 */
static int
wait_pause(ActionContext *ctx, Order *order, Pause *pause, int64_t patience_ms, json_t *ignore)
{
	int			rc = 0;

	while (rc == 0 && !pause_over(order, pause))
	{
		double		asked = clock_monotonic_ms();
		int			took;

		rc = look_at_servers(ctx, order, pause, ignore);
		if (rc != 0)
			return rc < 0 ? rc : 0;
		if (clock_monotonic_ms() - pause->sent_ms >= (double) patience_ms)
			return 0;
		took = (int) (clock_monotonic_ms() - asked);	/* a pooler that has much to tell is asked less often */
		wait_a_while(pause, clock_monotonic_ms() - pause->sent_ms < 1000 ? 1 + 4 * took : 100);
		if (action_cancelled(ctx))
			rc = action_fail(ctx, STATE_CANCELED, "the job was cancelled");
	}
	return rc;
}

static void
finish_pause(ActionContext *ctx, Order *order, Pause *pause, int rc)
{
	char		error[256];

	pthread_mutex_lock(&order->endpoint->lock);
	if (order->endpoint->wake_fd == pause->wake_fd)
		order->endpoint->wake_fd = -1;
	/* half a pause helps nobody; what another order has ended meanwhile is not ours any more */
	if (rc < 0 && order->endpoint->generation == pause->generation)
	{
		order->deadline = clock_monotonic_ms() + 1000;
		order_release(ctx->config, order, error, sizeof(error));
	}
	pthread_mutex_unlock(&order->endpoint->lock);
	PQfinish(pause->conn);
	burst_end(&pause->reader);
	if (pause->wake_fd >= 0)
		close(pause->wake_fd);
}

int
action_pgbouncer_pause(ActionContext *ctx, json_t *params, json_t *result)
{
	int64_t		resume_after = param_int(params, "resume_after_ms", RESUME_AFTER_MS);
	int64_t		patience = param_int(params, "patience_ms", 3600000);
	json_t	   *ignore = json_object_get(params, "ignore");
	double		start = clock_monotonic_ms();
	Pause		pause = {.wake_fd = -1};
	PauseEnd	end;
	Order		order;
	bool		late;
	int			rc;

	if (resume_after <= 0 || resume_after > 3600000)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"resume_after_ms\" must be between 1 and 3600000");
	if (order_read(ctx, params, &order) < 0)
		return -1;
	if (ctx->resumed)
		return 0;				/* the guard of the first life has its end; nobody needs more of it now */
	order_lock(&order);
	late = endpoint_has_ended(order.endpoint, ctx->run, order.databases);
	end = pause_end_in((double) resume_after);
	rc = late ? 0 : send_all(ctx, &order, &pause, &end);
	pthread_mutex_unlock(&order.endpoint->lock);
	if (late)
	{
		/* it was overtaken by the order that ends it; nobody would come to end it again */
		json_object_set_new(result, "complete", json_false());
		json_object_set_new(result, "note", json_string("the run has ended this pause already"));
		return 0;
	}
	action_progress(ctx, -1, "PAUSE sent");
	if (rc == 0)
		rc = wait_pause(ctx, &order, &pause, patience, json_is_array(ignore) ? ignore : NULL);
	json_object_set_new(result, "complete", json_boolean(rc == 0 && pause.complete));
	json_object_set_new(result, "pause_ms", json_real(clock_monotonic_ms() - start));
	finish_pause(ctx, &order, &pause, rc);
	return rc;
}
