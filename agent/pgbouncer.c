/*
 * pgbouncer.c
 *		pgbouncer.prepare, .pause, .commit, .release.
 *
 * PAUSE returns when the last transaction (transaction pooling) or client (session
 * pooling) has gone, so it has connections of its own, one a database: a console
 * executes nothing else while a PAUSE is outstanding.  RESUME from the control connection
 * does not wake a waiting PAUSE; those connections are closed then.  KILL is never used.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <libgen.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/endpoint.h"
#include "agent/text.h"

#define FILE_MAX (1024 * 1024)
#define RESUME_AFTER_MS 30000

/* What each of the four actions begins with */
typedef struct Order
{
	const BouncerConfig *bouncer;
	Endpoint   *endpoint;
	json_t	   *databases;
	double		deadline;		/* monotonic, of the action */
} Order;

static int
read_order(ActionContext *ctx, json_t *params, Order *order)
{
	const char *name = param_string(params, "endpoint", "");
	const char *database;
	json_t	   *extra;

	order->bouncer = config_bouncer(ctx->config, name);
	order->databases = json_object_get(params, "databases");
	order->deadline = clock_monotonic_ms() + param_int(params, "timeout_ms", ADMIN_TIMEOUT_MS);
	if (!order->bouncer)
		return action_fail(ctx, STATE_UNDEFINED_OBJECT, "no PgBouncer \"%s\" is configured", name);
	if (!json_is_object(order->databases) || json_object_size(order->databases) == 0 ||
		json_object_size(order->databases) > ENDPOINT_PAUSERS_MAX)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"databases\" must name 1 to %d databases",
						   ENDPOINT_PAUSERS_MAX);
	json_object_foreach(order->databases, database, extra)
		if (!*database || !bouncer_text_valid(database) || strpbrk(database, "'\\") ||
			!json_is_string(extra) || !bouncer_text_valid(json_string_value(extra)))
			return action_fail(ctx, STATE_INVALID_PARAMETER, "\"databases\" must map names to connection settings");
		else if (!bouncer_extra_valid(json_string_value(extra)))
			return action_fail(ctx, STATE_INVALID_PARAMETER,
							   "a connection setting of database \"%s\" is not one that a route may have", database);
	order->endpoint = endpoint_get(name);
	return 0;
}

static PGresult *
control(ActionContext *ctx, Order *order, const char *sql)
{
	char		error[256];
	PGresult   *res = admin_control(order->endpoint, order->bouncer, sql, order->deadline, error, sizeof(error));

	if (!res)
		action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	return res;
}

/* ---- pgbouncer.prepare ---- */

static const char *
column(PGresult *res, int row, const char *name)
{
	int			number = PQfnumber(res, name);

	return number < 0 || PQgetisnull(res, row, number) ? NULL : PQgetvalue(res, row, number);
}

static const char *
config_value(PGresult *config, const char *key)
{
	for (int i = 0; i < PQntuples(config); i++)
		if (strcmp(PQgetvalue(config, i, 0), key) == 0)
			return PQgetvalue(config, i, 1);
	return NULL;
}

static int
clients_of(PGresult *pools, const char *database)
{
	int			n = 0;

	for (int i = 0; i < PQntuples(pools); i++)
	{
		const char *active = column(pools, i, "cl_active");

		if (strcmp(PQgetvalue(pools, i, 0), database) == 0 && active)
			n += atoi(active);
	}
	return n;
}

static void
describe_database(PGresult *databases, int row, PGresult *pools, const char *default_mode, json_t *result)
{
	const char *name = PQgetvalue(databases, row, 0);
	const char *host = column(databases, row, "host");
	const char *port = column(databases, row, "port");
	const char *mode = column(databases, row, "pool_mode");
	const char *paused = column(databases, row, "paused");
	const char *disabled = column(databases, row, "disabled");

	if (!mode)
		mode = default_mode;
	json_object_set_new(json_object_get(result, "pool_mode"), name, json_string(mode));
	json_object_set_new(json_object_get(result, "databases"), name,
						json_pack("{s:s, s:s, s:i, s:b, s:b, s:i}", "pool_mode", mode, "host", host ? host : "",
								  "port", port ? atoi(port) : 0, "paused", paused && atoi(paused),
								  "disabled", disabled && atoi(disabled), "cl_active", clients_of(pools, name)));
}

static void
describe_settings(PGresult *config, json_t *result)
{
	static const char *const keys[] = {"query_wait_timeout", "query_timeout", "server_login_retry", NULL};

	for (int i = 0; keys[i]; i++)
	{
		const char *value = config_value(config, keys[i]);

		json_object_set_new(result, keys[i], value ? json_real(atof(value)) : json_null());
	}
}

/* The PostgreSQL processes that a client of our databases holds right now. */
static json_t *
linked_servers(Order *order, PGresult *servers)
{
	json_t	   *pids = json_array();

	for (int i = 0; servers && i < PQntuples(servers); i++)
	{
		const char *database = column(servers, i, "database");
		const char *link = column(servers, i, "link");
		const char *pid = column(servers, i, "remote_pid");

		if (database && link && link[0] && pid && json_object_get(order->databases, database))
			json_array_append_new(pids, json_integer(atoi(pid)));
	}
	return pids;
}

static int
describe(ActionContext *ctx, Order *order, json_t *result)
{
	PGresult   *version = control(ctx, order, "SHOW VERSION");
	PGresult   *config = version ? control(ctx, order, "SHOW CONFIG") : NULL;
	PGresult   *databases = config ? control(ctx, order, "SHOW DATABASES") : NULL;
	PGresult   *pools = databases ? control(ctx, order, "SHOW POOLS") : NULL;
	PGresult   *servers = pools ? control(ctx, order, "SHOW SERVERS") : NULL;
	const char *name;
	json_t	   *unused;
	int			rc = servers ? 0 : -1;

	if (servers)
	{
		const char *mode = config_value(config, "pool_mode");
		json_t	   *known = json_object();

		json_object_set_new(result, "version", json_string(PQgetvalue(version, 0, 0)));
		json_object_set_new(result, "pool_mode", json_object());
		json_object_set_new(result, "databases", known);
		json_object_set_new(result, "server_pids", linked_servers(order, servers));
		describe_settings(config, result);
		for (int i = 0; i < PQntuples(databases); i++)
			if (json_object_get(order->databases, PQgetvalue(databases, i, 0)))
				describe_database(databases, i, pools, mode ? mode : "session", result);
		json_object_foreach(order->databases, name, unused)
			if (rc == 0 && !json_object_get(known, name))
				rc = action_fail(ctx, "3D000", "PgBouncer \"%s\" has no database \"%s\"", order->bouncer->name, name);
	}
	PQclear(servers);
	PQclear(pools);
	PQclear(databases);
	PQclear(config);
	PQclear(version);
	return rc;
}

static bool
file_writable(const char *path)
{
	char	   *copy = xstrdup(path);
	bool		writable = access(dirname(copy), W_OK) == 0;

	free(copy);
	return writable && (!file_exists(path) || access(path, W_OK) == 0);
}

/* Does our file name each database, and the place that PgBouncer has for it? */
static bool
file_matches(Order *order, json_t *result)
{
	char	   *text = file_read(order->bouncer->file, FILE_MAX, NULL);
	bool		matches = text != NULL;
	const char *name;
	json_t	   *unused;

	json_object_foreach(order->databases, name, unused)
	{
		char	   *line = text ? bouncer_line(text, name) : NULL;
		char	   *host = line ? conninfo_get(line, "host") : NULL;
		json_t	   *known = json_object_get(json_object_get(result, "databases"), name);

		if (!host || strcmp(host, param_string(known, "host", "")) != 0)
			matches = false;
		free(host);
		free(line);
	}
	free(text);
	return matches;
}

/* The lock is held. */
static int
open_pausers(ActionContext *ctx, Order *order)
{
	Endpoint   *endpoint = order->endpoint;
	int			wanted = (int) json_object_size(order->databases);
	char		error[256];

	for (int i = 0; i < endpoint->n_pausers; i++)
		PQfinish(endpoint->pausers[i]);
	endpoint->n_pausers = 0;
	while (endpoint->n_pausers < wanted)
	{
		PGconn	   *conn = admin_connect(order->bouncer, error, sizeof(error));

		if (!conn)
			return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
		endpoint->pausers[endpoint->n_pausers++] = conn;
	}
	return 0;
}

int
action_pgbouncer_prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	Order		order;
	int			rc;

	if (read_order(ctx, params, &order) < 0)
		return -1;
	pthread_mutex_lock(&order.endpoint->lock);
	rc = describe(ctx, &order, result);
	if (rc == 0)
		rc = open_pausers(ctx, &order);
	pthread_mutex_unlock(&order.endpoint->lock);
	json_object_set_new(result, "file_writable", json_boolean(file_writable(order.bouncer->file)));
	json_object_set_new(result, "file_matches", json_boolean(rc == 0 && file_matches(&order, result)));
	return rc;
}

/* ---- pgbouncer.pause ---- */

typedef struct Pause
{
	PGconn	   *conns[ENDPOINT_PAUSERS_MAX];
	bool		returned[ENDPOINT_PAUSERS_MAX];
	int			n;
	int			wake_fd;
	unsigned	generation;
} Pause;

/* A connection of prepare may have died with its PgBouncer: then a new one, once. */
static int
send_one(ActionContext *ctx, Order *order, Pause *pause, const char *database)
{
	char	   *sql = admin_command("PAUSE", database);
	char		error[256] = "could not send";
	Endpoint   *endpoint = order->endpoint;
	PGconn	   *conn = endpoint->n_pausers > 0 ? endpoint->pausers[--endpoint->n_pausers] : NULL;
	bool		sent = conn && PQsendQuery(conn, sql);

	if (!sent)
	{
		PQfinish(conn);
		conn = admin_connect(order->bouncer, error, sizeof(error));
		sent = conn && PQsendQuery(conn, sql);
	}
	free(sql);
	if (!sent)
	{
		PQfinish(conn);
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	}
	pause->conns[pause->n++] = conn;
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

/* The lock is held: a commit comes before all of this, or after it. */
static int
send_all(ActionContext *ctx, Order *order, Pause *pause, double deadline_ms)
{
	Endpoint   *endpoint = order->endpoint;
	const char *name;
	json_t	   *unused;
	int			rc = 0;

	begin_pause(ctx, order);
	if (pause_mark(ctx->config, endpoint, endpoint->paused, deadline_ms) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not note the pause: %s", strerror(errno));
	pause_guard(endpoint, order->databases, deadline_ms);
	pause->generation = endpoint->generation;
	pause->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (endpoint->wake_fd < 0)
		endpoint->wake_fd = pause->wake_fd;	/* a second one notices the end by its polls */
	json_object_foreach(order->databases, name, unused)
		if (rc == 0)
			rc = send_one(ctx, order, pause, name);
	return rc;
}

/* Reads what came on one connection; an error other than "already paused" fails the job. */
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

		if (PQresultStatus(res) == PGRES_FATAL_ERROR && !(message && strstr(message, "already")))
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "PgBouncer \"%s\" refused to pause: %s",
							 order->bouncer->name, message ? message : "connection lost");
		PQclear(res);
	}
	return rc;
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

static int
wait_pauses(ActionContext *ctx, Order *order, Pause *pause)
{
	int			rc = 0;

	while (rc == 0 && pauses_left(pause) > 0 && !pause_over(order, pause))
	{
		struct pollfd fds[ENDPOINT_PAUSERS_MAX + 1];

		for (int i = 0; i < pause->n; i++)
			fds[i] = (struct pollfd) {pause->returned[i] ? -1 : PQsocket(pause->conns[i]), POLLIN, 0};
		fds[pause->n] = (struct pollfd) {pause->wake_fd, POLLIN, 0};
		poll(fds, pause->n + 1, 100);	/* the limit: a cancelled job is noticed */
		for (int i = 0; i < pause->n && rc == 0; i++)
			if (fds[i].fd >= 0 && fds[i].revents)
				rc = read_pause(ctx, order, pause, i);
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
	double		start = clock_monotonic_ms();
	Pause		pause = {.wake_fd = -1};
	Order		order;
	bool		late;
	int			rc;

	if (resume_after <= 0 || resume_after > 3600000)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"resume_after_ms\" must be between 1 and 3600000");
	if (read_order(ctx, params, &order) < 0)
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
		rc = wait_pauses(ctx, &order, &pause);
	json_object_set_new(result, "paused", json_integer(pause.n - pauses_left(&pause)));
	json_object_set_new(result, "complete", json_boolean(rc == 0 && pauses_left(&pause) == 0));
	json_object_set_new(result, "pause_ms", json_real(clock_monotonic_ms() - start));
	finish_pause(ctx, &order, &pause, rc);
	return rc;
}

/* ---- pgbouncer.commit, pgbouncer.release ---- */

/* Not fsynced here: that is done when the clients go on. */
static int
write_file(ActionContext *ctx, Order *order, const char *host, int port)
{
	char	   *text = file_read(order->bouncer->file, FILE_MAX, NULL);
	const char *name;
	json_t	   *extra;
	int			rc;

	if (!text && errno != ENOENT)
		return action_fail(ctx, STATE_IO_ERROR, "could not read \"%s\": %s", order->bouncer->file, strerror(errno));
	json_object_foreach(order->databases, name, extra)
	{
		char	   *changed = bouncer_rewrite(text ? text : "", name, host, port, json_string_value(extra));

		free(text);
		text = changed;
	}
	rc = file_write_atomic(order->bouncer->file, text, strlen(text), 0644, false);
	free(text);
	if (rc < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", order->bouncer->file, strerror(errno));
	return 0;
}

static void
sync_file(ActionContext *ctx, json_t *params)
{
	const BouncerConfig *bouncer = config_bouncer(ctx->config, param_string(params, "endpoint", ""));
	const char *path = bouncer->file;
	char	   *copy = xstrdup(path);

	if (file_fsync_path(path) < 0 || file_fsync_path(dirname(copy)) < 0)
		log_warning("could not fsync \"%s\": %s", path, strerror(errno));
	free(copy);
	retry_soon(endpoint_get(bouncer->name));
}

/* The lock is held. */
static int
commit(ActionContext *ctx, Order *order, const char *host, int port, json_t *result)
{
	char		error[256];
	PGresult   *res;

	if (write_file(ctx, order, host, port) < 0)
		return -1;
	res = control(ctx, order, "RELOAD");
	if (!res)
		return -1;
	PQclear(res);
	if (release(ctx->config, order, error, sizeof(error)) < 0)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order->bouncer->name, error);
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	return 0;
}

int
action_pgbouncer_commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *host = param_string(params, "host", "");
	int64_t		port = param_int(params, "port", 0);
	Order		order;
	int			rc;

	if (!*host || !bouncer_text_valid(host) || strpbrk(host, " '\\;#=") || port < 1 || port > 65535)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"host\" and \"port\" must name the new primary");
	if (read_order(ctx, params, &order) < 0)
		return -1;
	pthread_mutex_lock(&order.endpoint->lock);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = commit(ctx, &order, host, (int) port, result);
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc == 0)
		action_afterwards(ctx, sync_file, params);
	return rc;
}

int
action_pgbouncer_release(ActionContext *ctx, json_t *params, json_t *result)
{
	char		error[256];
	Order		order;
	int			rc;

	if (read_order(ctx, params, &order) < 0)
		return -1;
	pthread_mutex_lock(&order.endpoint->lock);
	endpoint_note_ended(order.endpoint, ctx->run, order.databases);
	rc = release(ctx->config, &order, error, sizeof(error));
	pthread_mutex_unlock(&order.endpoint->lock);
	if (rc < 0)
		return action_fail(ctx, STATE_CONNECTION_FAILURE, "PgBouncer \"%s\": %s", order.bouncer->name, error);
	json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	retry_soon(order.endpoint);
	return 0;
}
