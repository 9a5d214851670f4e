/*
 * pgbouncer.c
 *		pgbouncer.pause, .commit, .release; what all orders to a PgBouncer begin with.
 *
 * PAUSE returns when the last transaction (transaction pooling) or client (session
 * pooling) has gone, so it has connections of its own: a console executes nothing else
 * while a PAUSE is outstanding.  RESUME from the control connection does not wake a
 * waiting PAUSE; those connections are closed then.  KILL is never used.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/bouncerfile.h"
#include "agent/bouncerini.h"
#include "agent/bouncerorder.h"
#include "agent/pgbouncer.h"

#define RESUME_AFTER_MS 30000
#define EFFECT_MS 1000			/* for PgBouncer to say that it is paused */
#define LOGINS_MS 20
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
	order->deadline = clock_monotonic_ms() + param_int(params, "timeout_ms", admin_timeout_ms(order->bouncer));
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
	PGconn	   *conns[ENDPOINT_DATABASES_MAX];
	bool		returned[ENDPOINT_DATABASES_MAX];	/* that console has answered, and is free */
	int			n;
	double		sent_ms;		/* monotonic */
	int			wake_fd;
	unsigned	generation;
} Pause;

/* Reads what came on one console; an error fails the job. */
static int
read_pause(ActionContext *ctx, Order *order, Pause *pause, int i)
{
	PGconn	   *conn = pause->conns[i];
	bool		alive = PQconsumeInput(conn);
	PGresult   *res;
	int			rc = 0;

	if (alive && PQisBusy(conn))
		return 0;
	pause->returned[i] = true;
	if (!alive)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\" closed the connection of a PAUSE",
						   order->bouncer->name);
	while ((res = PQgetResult(conn)))
	{
		const char *message = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

		if (PQresultStatus(res) == PGRES_FATAL_ERROR)
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" refused to pause: %s",
							 order->bouncer->name, message ? message : "connection lost");
		PQclear(res);
	}
	return rc;
}

/* Waits for an answer on any console, or on wake_fd (-1: none), and reads what came. */
static int
read_pauses(ActionContext *ctx, Order *order, Pause *pause, int wake_fd, int timeout_ms)
{
	struct pollfd fds[ENDPOINT_DATABASES_MAX + 1];
	int			rc = 0;

	for (int i = 0; i < pause->n; i++)
		fds[i] = (struct pollfd) {pause->returned[i] ? -1 : PQsocket(pause->conns[i]), POLLIN, 0};
	fds[pause->n] = (struct pollfd) {wake_fd, POLLIN, 0};
	poll(fds, pause->n + 1, timeout_ms);
	for (int i = 0; i < pause->n && rc == 0; i++)
		if (fds[i].fd >= 0 && fds[i].revents)
			rc = read_pause(ctx, order, pause, i);
	return rc;
}

static int
free_console(const Pause *pause)
{
	for (int i = 0; i < pause->n; i++)
		if (pause->returned[i])
			return i;
	return -1;
}

/*
 * The console for the next PAUSE: one that has answered, one that prepare has opened, or after a moment a new one.
 * -1: the job has failed.
 */
static int
next_console(ActionContext *ctx, Order *order, Pause *pause)
{
	Endpoint   *endpoint = order->endpoint;
	char		error[256];
	int			i = free_console(pause);

	if (i < 0 && endpoint->n_pausers == 0 && pause->n > 0)
	{
		if (read_pauses(ctx, order, pause, -1, ANSWER_MS) < 0)
			return -1;
		i = free_console(pause);
	}
	if (i >= 0)
		return i;
	i = pause->n;
	pause->conns[i] = endpoint->n_pausers > 0 ? endpoint->pausers[--endpoint->n_pausers] :
		admin_connect(order->bouncer, error, sizeof(error));
	if (!pause->conns[i])
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	pause->n++;
	return i;
}

/* A connection of prepare may have died with its PgBouncer: then a new one, once. */
static int
send_one(ActionContext *ctx, Order *order, Pause *pause, const char *database)
{
	char	   *sql = admin_command("PAUSE", database);
	char		error[256] = "could not send";
	int			i = next_console(ctx, order, pause);
	bool		sent = i >= 0 && PQsendQuery(pause->conns[i], sql);

	if (i >= 0 && !sent)
	{
		PQfinish(pause->conns[i]);
		pause->conns[i] = admin_connect(order->bouncer, error, sizeof(error));
		sent = pause->conns[i] && PQsendQuery(pause->conns[i], sql);
	}
	free(sql);
	if (i < 0)
		return -1;
	pause->returned[i] = !sent;
	if (!sent)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	return 0;
}

/*
 * Two routes of one run are one pause.  The pause of a former run is over, but what it
 * has left paused comes under the new guard: nobody else would resume it.
 */
static void
begin_pause(ActionContext *ctx, Order *order)
{
	Endpoint   *endpoint = order->endpoint;
	json_t	   *former = json_incref(endpoint->paused);

	if (!endpoint->pause_run || strcmp(endpoint->pause_run, ctx->run) != 0)
		endpoint_end_pause(endpoint);
	endpoint_add_pause(endpoint, ctx->run, order->databases);
	if (former && former != endpoint->paused)
		json_object_update_missing(endpoint->paused, former);
	json_decref(former);
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
await_effect(ActionContext *ctx, Order *order)
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
		if (clock_monotonic_ms() > limit)
			return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" has not paused database \"%s\"",
							   order->bouncer->name, open);
		sleep_ms(1);
	}
}

/* The lock is held: a commit comes before all of this, or after it. */
static int
send_all(ActionContext *ctx, Order *order, Pause *pause, double deadline_ms)
{
	Endpoint   *endpoint = order->endpoint;
	const char *name;
	json_t	   *unused;
	int			rc = 0;

	retry_await_logins(endpoint, order->bouncer, order->databases, LOGINS_MS);
	begin_pause(ctx, order);
	if (pause_mark(ctx->config, endpoint, endpoint->paused, deadline_ms) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not note the pause: %s", strerror(errno));
	pause_guard(endpoint, order->databases, deadline_ms);
	pause->generation = endpoint->generation;
	pause->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (endpoint->wake_fd < 0)
		endpoint->wake_fd = pause->wake_fd; /* a second one notices the end by its polls */
	json_object_foreach(order->databases, name, unused)
		if (rc == 0)
			rc = send_one(ctx, order, pause, name);
	pause->sent_ms = clock_monotonic_ms();
	return rc == 0 ? await_effect(ctx, order) : rc;
}

static int
pauses_left(const Pause *pause)
{
	int			n = 0;

	for (int i = 0; i < pause->n; i++)
		n += !pause->returned[i];
	return n;
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

/*
 * Are those that PAUSE still waits for all such that the asker does not wait for?  The pooler knows it best: a client
 * keeps its server from the moment that its statement leaves for it.  1: yes, 0: no, -1: the job has failed.
 */
static int
only_ignored(ActionContext *ctx, Order *order, json_t *ignore)
{
	PGresult   *servers;
	PGresult   *pools;
	int			rc = -1;

	pthread_mutex_lock(&order->endpoint->lock);
	servers = order_control(ctx, order, "SHOW SERVERS");
	pools = servers ? order_control(ctx, order, "SHOW POOLS") : NULL;
	pthread_mutex_unlock(&order->endpoint->lock);
	if (pools)
	{
		rc = 1;
		for (int i = 0; i < PQntuples(servers) && rc == 1; i++)
			rc = !holds_up(order, servers, i, pools, ignore);
	}
	PQclear(pools);
	PQclear(servers);
	return rc;
}

/*
 * Until all have returned, somebody has ended the pause, or the asker's patience is over: with `ignore` (a list of
 * server processes), when only those and clients in session pooling are left.
 */
static int
wait_pauses(ActionContext *ctx, Order *order, Pause *pause, int64_t patience_ms, json_t *ignore)
{
	int			step_ms = json_is_array(ignore) ? LOOK_MS : 100;
	int			rc = 0;

	while (rc == 0 && pauses_left(pause) > 0 && !pause_over(order, pause))
	{
		double		waited = clock_monotonic_ms() - pause->sent_ms;

		if (waited >= (double) patience_ms)
			return 0;
		if (json_is_array(ignore) && waited >= LOOK_MS)
		{
			rc = only_ignored(ctx, order, ignore);
			if (rc != 0)
				return rc < 0 ? rc : 0;
		}
		rc = read_pauses(ctx, order, pause, pause->wake_fd, step_ms);
		if (rc == 0 && action_cancelled(ctx))
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
		pause_mark(config, endpoint, endpoint->paused, endpoint->pause_deadline_ms);
		return;
	}
	pause_clear(config, endpoint);
	endpoint_end_pause(endpoint);
}

/* The lock is held.  What fails stays marked: the guard tries again at the deadline. */
static int
release(const AgentConfig *config, Order *order, char *error, size_t error_size)
{
	int			rc = admin_resume(order->endpoint, order->bouncer, order->databases, order->deadline,
								  error, error_size);

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
	for (int i = 0; i < pause->n; i++)
		PQfinish(pause->conns[i]);
	if (pause->wake_fd >= 0)
		close(pause->wake_fd);
}

int
action_pgbouncer_pause(ActionContext *ctx, json_t *params, json_t *result)
{
	int64_t		resume_after = param_int(params, "resume_after_ms", RESUME_AFTER_MS);
	int64_t		patience = param_int(params, "patience_ms", 3600000);
	double		start = clock_monotonic_ms();
	Pause		pause = {.wake_fd = -1};
	Order		order;
	bool		late;
	int			rc;

	if (resume_after <= 0 || resume_after > 3600000)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"resume_after_ms\" must be between 1 and 3600000");
	if (order_read(ctx, params, &order) < 0)
		return -1;
	if (ctx->resumed)
		return 0;				/* the guard of the first life has its end; nobody needs more of it now */
	pthread_mutex_lock(&order.endpoint->lock);
	late = endpoint_has_ended(order.endpoint, ctx->run, order.databases);
	rc = late ? 0 : send_all(ctx, &order, &pause, clock_realtime_ms() + resume_after);
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
		rc = wait_pauses(ctx, &order, &pause, patience, json_object_get(params, "ignore"));
	json_object_set_new(result, "complete", json_boolean(rc == 0 && pauses_left(&pause) == 0));
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

/* RELOAD; a refusal (from 1.24 on) is kept in its place for the error. */
static bool
reload(Order *order, char *refusal, size_t size)
{
	PGresult   *res = admin_control(order->endpoint, order->bouncer, "RELOAD", order->deadline, refusal, size);
	bool		answered = res != NULL;

	if (answered)
	{
		order->endpoint->probed = false;
		refusal[0] = '\0';
	}
	PQclear(res);
	return answered;
}

/* What counts is where PgBouncer says that its databases lead, whatever became of the RELOAD. */
static int
look(Order *order, const char *host, int port, const char *refusal, char *why, size_t why_size)
{
	PGresult   *shown = admin_control(order->endpoint, order->bouncer, "SHOW DATABASES", order->deadline, why, why_size);
	int			rc = shown ? proof_leads(shown, order->databases, host, port, why, why_size) : -1;
	size_t		len = strlen(why);

	PQclear(shown);
	if (rc == 0 && refusal[0])
		log_warning("PgBouncer \"%s\" has taken over its databases, but said to RELOAD: %s", order->bouncer->name, refusal);
	if (rc < 0 && refusal[0])
		snprintf(why + len, why_size - len, "; RELOAD: %s", refusal);
	return rc;
}

/*
 * The clients go on.  A client that logs in between RELOAD and RESUME makes PgBouncer begin a login at the new place
 * which the pause breaks off, and for that it refuses others: nothing may stand between the two.  So where this run
 * has proved a moment ago that a RELOAD takes effect, PgBouncer is asked right behind the RESUME; else in between.
 */
static int
switch_over(const AgentConfig *config, Order *order, const char *host, int port, bool proved, json_t *result,
			char *why, size_t why_size)
{
	char		refusal[256];
	bool		reloaded = reload(order, refusal, sizeof(refusal));
	bool		first = proved && reloaded;

	if (!first && look(order, host, port, refusal, why, why_size) < 0)
		return -1;
	if (release(config, order, why, why_size) < 0)
		return -1;
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	return first ? look(order, host, port, refusal, why, why_size) : 0;
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
			rc = switch_over(ctx->config, order, host, port, proved, result, why, sizeof(why));
		proved = false;
		if (rc == 0 || clock_monotonic_ms() + RELOAD_AGAIN_MS > order->deadline || action_cancelled(ctx))
			break;
		sleep_ms(RELOAD_AGAIN_MS);
	}
	if (rc == 0)
		return 0;
	json_object_del(result, "resumed_ms");
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" does not lead to %s:%d: %s", order->bouncer->name,
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
		endpoint_close_pausers(endpoint);
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
	pthread_mutex_lock(&order.endpoint->lock);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = lead_to(ctx, &order, host, port, result);
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc == 0)
		action_afterwards(ctx, sync_file, params);
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
		PGresult   *res = admin_control(endpoint, bouncer, "RELOAD", clock_monotonic_ms() + admin_timeout_ms(bouncer), error,
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
	pthread_mutex_lock(&order.endpoint->lock);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = release(ctx->config, &order, error, sizeof(error));
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc < 0)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order.bouncer->name, error);
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	action_afterwards(ctx, tidy_up, params);
	return 0;
}
