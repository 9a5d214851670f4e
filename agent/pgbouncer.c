/*
 * pgbouncer.c
 *		pgbouncer.pause, .commit, .release; what all orders to a PgBouncer begin with.
 *
 * PAUSE is answered when the last transaction (transaction pooling) or client (session
 * pooling) has gone, so it has a connection of its own, whose answers nobody counts on:
 * PgBouncer is asked on the control connection.  RESUME does not wake a waiting PAUSE;
 * its connection is closed then.  KILL is never used.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/actions.h"
#include "agent/bouncerfile.h"
#include "agent/bouncerini.h"
#include "agent/bouncerorder.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/endpoint.h"
#include "agent/job/action.h"
#include "agent/job/params.h"
#include "agent/job/sqlstate.h"
#include "agent/pgbouncer.h"

#define RESUME_AFTER_MS 30000
#define EFFECT_MS 1000			/* for PgBouncer to say that it is paused */
#define LOGINS_MS 100
#define LOOK_MS 5				/* for PAUSE to return, before the console is asked what it waits for */
#define ANSWER_MS 2				/* PAUSE of a database without server connections returns sooner */
#define RELOAD_AGAIN_MS 50

static int
database_fails(ActionContext *ctx, const char *name, json_t *extra)
{
	if (!bouncer_name_valid(name) || !json_is_string(extra) || !bouncer_text_valid(json_string_value(extra)))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"databases\" must map names to connection settings");
	if (!bouncer_extra_valid(json_string_value(extra)))
		return action_fail(ctx, STATE_INVALID_PARAMETER,
						   "a connection setting of database \"%s\" is not one that a route may have", name);
	return 0;
}

int
order_read(ActionContext *ctx, json_t *params, Order *order)
{
	const char *name = param_string(params, "endpoint", "");
	const char *database;
	json_t	   *extra;

	order->bouncer = config_bouncer(ctx->config, name);
	order->databases = json_object_get(params, "databases");
	if (!order->bouncer)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "no PgBouncer \"%s\" is configured", name);
	order->timeout_ms = param_int(params, "timeout_ms", admin_timeout_ms(order->bouncer));
	if (!json_is_object(order->databases) || json_object_size(order->databases) == 0 ||
		json_object_size(order->databases) > ENDPOINT_DATABASES_MAX)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"databases\" must name 1 to %d databases",
						   ENDPOINT_DATABASES_MAX);
	json_object_foreach(order->databases, database, extra)
		if (database_fails(ctx, database, extra) < 0)
			return -1;
	order->endpoint = endpoint_get(name);
	return 0;
}

void
order_lock(Order *order)
{
	pthread_mutex_lock(&order->endpoint->lock);
	order->deadline = clock_monotonic_ms() + (double) order->timeout_ms;
}

/* The host goes into a line of the file. */
bool
order_place(json_t *params, const char **host, int *port)
{
	int64_t		number = param_int(params, "port", 0);

	*host = param_string(params, "host", "");
	*port = (int) number;
	return **host && strlen(*host) < 256 && bouncer_text_valid(*host) && !strpbrk(*host, " '\\;#=,") &&
		number >= 1 && number <= 65535;
}

PGresult *
order_control(ActionContext *ctx, Order *order, const char *sql)
{
	char		error[256];
	PGresult   *res = admin_control(order->endpoint, order->bouncer, sql, order->deadline, error, sizeof(error));

	if (!res)
		action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	return res;
}

/* ---- pgbouncer.pause ---- */

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
		int			row = proof_row(shown, name);
		const char *paused = row < 0 ? NULL : proof_column(shown, row, "paused");

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
		const char *mode = proof_column(pools, i, "pool_mode");

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
	const char *database = proof_column(servers, row, "database");
	const char *user = proof_column(servers, row, "user");
	const char *link = proof_column(servers, row, "link");
	const char *pid = proof_column(servers, row, "remote_pid");

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
		const char *active = proof_column(pools, i, "sv_active");
		const char *tested = proof_column(pools, i, "sv_tested");

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

/*
 * What is left keeps its guard, and is over when that is.  A mark that could not be made
 * smaller does no harm: resumed twice is resumed.
 */
static void
end_databases(const AgentConfig *config, Order *order)
{
	Endpoint   *endpoint = order->endpoint;
	const char *name;
	json_t	   *unused;

	json_object_foreach(order->databases, name, unused)
		json_object_del(endpoint->paused, name);
	if (json_object_size(endpoint->paused) > 0)
	{
		pause_mark(config, endpoint, endpoint->paused, &endpoint->pause_end);
		return;
	}
	pause_clear(config, endpoint);
	endpoint_end_pause(endpoint);
}

/* The lock is held.  What fails stays marked: the guard tries again at the deadline. */
static int
release(const AgentConfig *config, Order *order, char *error, size_t error_size)
{
	char		unused[8];
	int			rc = admin_resume(order->endpoint, order->bouncer, order->databases, false, order->deadline,
								  unused, sizeof(unused), error, error_size);

	if (rc == 0)
		end_databases(config, order);
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
		release(ctx->config, order, error, sizeof(error));
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

/* ---- pgbouncer.commit, pgbouncer.release ---- */

/* The file leads to the new place.  Not durable yet: that is done when the clients go on. */
static int
write_file(Order *order, const char *host, int port, char *why, size_t why_size)
{
	char	   *text;
	char	   *next = NULL;
	int			rc = bouncer_file_read(order->bouncer->file, &text, why, why_size);

	if (rc < 0)
		return rc;
	if (!stage_use(order, text, host, port))
	{
		next = stage_text(order->databases, text, host, port, why, why_size);
		if (!next)
			rc = -1;
		else if (strcmp(next, text) != 0)
			rc = bouncer_file_replace(order->bouncer->file, next, why, why_size);
	}
	free(next);
	free(text);
	return rc;
}

/* What counts is where PgBouncer says that its databases lead, whatever became of the RELOAD. */
static int
look(Order *order, const char *host, int port, const char *refusal, char *why, size_t why_size)
{
	PGresult   *shown = admin_control(order->endpoint, order->bouncer, "SHOW DATABASES", order->deadline, why,
									  why_size);
	int			rc = shown ? proof_leads(shown, order->databases, host, port, why, why_size) : -1;
	size_t		len = strlen(why);

	PQclear(shown);
	if (rc == 0 && refusal[0])
		log_warning("PgBouncer \"%s\" has taken over its databases, but said to RELOAD: %s", order->bouncer->name,
					refusal);
	if (rc < 0 && refusal[0])
		snprintf(why + len, why_size - len, "; RELOAD: %s", refusal);
	return rc;
}

/* RELOAD, and only then RESUME: nobody knows yet what a RELOAD does here. */
static int
go_on_seen(const AgentConfig *config, Order *order, const char *host, int port, char *why, size_t why_size)
{
	char		refusal[256] = "";
	PGresult   *res = admin_control(order->endpoint, order->bouncer, "RELOAD", order->deadline, refusal,
									sizeof(refusal));

	if (res)
		refusal[0] = '\0';
	PQclear(res);
	if (look(order, host, port, refusal, why, why_size) < 0)
		return -1;
	return release(config, order, why, why_size);
}

/*
 * RELOAD and RESUME in one go, then the look.  This run has proved a moment ago that a RELOAD takes effect, and a
 * client that logs in between the two makes PgBouncer begin a login at the new place which the pause breaks off, and
 * for that it refuses other clients.
 */
static int
go_on_proved(const AgentConfig *config, Order *order, const char *host, int port, json_t *result, char *why,
			 size_t why_size)
{
	char		refusal[256];

	if (admin_resume(order->endpoint, order->bouncer, order->databases, true, order->deadline, refusal,
					 sizeof(refusal), why, why_size) < 0)
		return -1;
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	end_databases(config, order);
	return look(order, host, port, refusal, why, why_size);
}

/* Again and again while there is time: behind the promotion nothing else helps. */
static int
lead_to(ActionContext *ctx, Order *order, const char *host, int port, json_t *result)
{
	const char *proved_run = order->endpoint->proved_run;
	bool		proved = proved_run && strcmp(proved_run, ctx->run) == 0;
	char		why[512] = "";
	int			rc;

	for (;;)
	{
		rc = write_file(order, host, port, why, sizeof(why));
		if (rc == 0)
			rc = proved ? go_on_proved(ctx->config, order, host, port, result, why, sizeof(why)) :
				go_on_seen(ctx->config, order, host, port, why, sizeof(why));
		proved = false;
		if (rc == 0 || clock_monotonic_ms() + RELOAD_AGAIN_MS > order->deadline || action_cancelled(ctx))
			break;
		sleep_ms(RELOAD_AGAIN_MS);
	}
	if (rc == 0)
	{
		order->endpoint->probed = false;
		if (!json_object_get(result, "resumed_ms"))
			json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
		return 0;
	}
	json_object_del(result, "resumed_ms");
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" does not lead to %s:%d: %s",
				order->bouncer->name,
				host, port, why);
	action_hint(ctx, "PgBouncer's log says what stops its RELOAD.  It must read \"%s\".", order->bouncer->file);
	return -1;
}

static void
sync_file(ActionContext *ctx, json_t *params)
{
	const BouncerConfig *bouncer = config_bouncer(ctx->config, param_string(params, "endpoint", ""));
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	char		why[512];

	retry_soon(endpoint);
	if (bouncer_file_sync(bouncer->file, why, sizeof(why)) < 0)
		log_warning("PgBouncer \"%s\": %s", bouncer->name, why);
	pthread_mutex_lock(&endpoint->lock);
	if (!endpoint->paused)
	{
		endpoint_close_pausers(endpoint);
		/* what was staged was not used: somebody has edited the file meanwhile */
		if (endpoint->stage.run && strcmp(endpoint->stage.run, ctx->run) == 0)
			stage_drop(endpoint, bouncer);
	}
	pthread_mutex_unlock(&endpoint->lock);
}

int
action_pgbouncer_commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *host;
	int			port;
	Order		order;
	int			rc;

	if (!order_place(params, &host, &port))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"host\" and \"port\" must name the new primary");
	if (order_read(ctx, params, &order) < 0)
		return -1;
	order_lock(&order);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = lead_to(ctx, &order, host, port, result);
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc == 0)
		action_afterwards(ctx, sync_file, params);
	else
		retry_soon(order.endpoint);
	return rc;
}

/* What prepare has left, when the run does not come to its commit. */
static void
tidy_up(ActionContext *ctx, json_t *params)
{
	const BouncerConfig *bouncer = config_bouncer(ctx->config, param_string(params, "endpoint", ""));
	Endpoint   *endpoint = endpoint_get(bouncer->name);
	char		error[256];

	pthread_mutex_lock(&endpoint->lock);
	if (!endpoint->paused)
		endpoint_close_pausers(endpoint);
	if (!endpoint->stage.run || strcmp(endpoint->stage.run, ctx->run) == 0)
		stage_drop(endpoint, bouncer);
	if (endpoint->probed)
	{
		PGresult   *res = admin_control(endpoint, bouncer, "RELOAD",
										clock_monotonic_ms() + admin_timeout_ms(bouncer), error,
										sizeof(error));

		endpoint->probed = res == NULL;
		PQclear(res);
	}
	pthread_mutex_unlock(&endpoint->lock);
	retry_soon(endpoint);
}

int
action_pgbouncer_release(ActionContext *ctx, json_t *params, json_t *result)
{
	char		error[256];
	Order		order;
	int			rc;

	if (order_read(ctx, params, &order) < 0)
		return -1;
	order_lock(&order);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = release(ctx->config, &order, error, sizeof(error));
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc < 0)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order.bouncer->name, error);
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	action_afterwards(ctx, tidy_up, params);
	return 0;
}
