/*
 * control.c
 *		Starting and stopping the local server, by the means that manages it.
 *
 * Stopping is a signal to the postmaster and a pidfd that tells its end at once; pg_ctl looks only every 100 ms. With
 * systemctl the unit is stopped afterwards, so that systemd does not start the server again. With a configured
 * command only that is run.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/pg/control.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/serverlog.h"
#include "common/sqlstate.h"

#define COMMAND_TIMEOUT_MS 60000
#define POLL_MS 2
#define APPEAR_MS 5000			/* from the start command's end to postmaster.pid */

/* Something takes connections there, whether it answers or not: a server that hangs is a server. */
static bool
listens(const char *host, int port)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			fd;
	bool		connected;

	if (host[0] != '/')
		return false;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/.s.PGSQL.%d", host, port);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* EAGAIN: the queue is full */
	connected = fd >= 0 && (connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0 || errno == EAGAIN);
	if (fd >= 0)
		close(fd);
	return connected;
}

/*
 * A server with a command may run where its process cannot be seen (a container): then it runs if something
 * answers at its place.
 */
static bool
answers(const PgInstance *pg)
{
	char		port[16];
	const char *keywords[] = {"host", "port", "user", "dbname", "connect_timeout", NULL};
	const char *values[] = {pg->socket, port, pg->superuser, pg->database, "3", NULL};
	PGPing		ping;

	snprintf(port, sizeof(port), "%d", pg->port);
	ping = PQpingParams(keywords, values, 0);
	return ping == PQPING_OK || ping == PQPING_REJECT || listens(pg->socket, pg->port);
}

bool
control_running(const PgInstance *pg)
{
	return postmaster_pid(pg->data) != 0 || (pg->control == PG_CONTROL_COMMAND && answers(pg));
}

/* Signals it and waits for its end; false: it still runs. */
static bool
signal_and_wait(int pidfd, int signal_number, int timeout_ms)
{
	struct pollfd fd = {pidfd, POLLIN, 0};

	if (pidfd_send_signal(pidfd, signal_number, NULL, 0) < 0 && errno == ESRCH)
		return true;
	return poll(&fd, 1, timeout_ms) == 1;
}

static int
run_command(ActionContext *ctx, char *const *argv, bool server)
{
	ChildOptions options = {.timeout_ms = COMMAND_TIMEOUT_MS, .server = server};

	return child_run_or_fail(ctx, argv, &options);
}

static int
stop_postmaster(ActionContext *ctx, int pidfd, bool immediate, int timeout_ms)
{
	if (signal_and_wait(pidfd, immediate ? SIGQUIT : SIGINT, timeout_ms))
		return 0;
	if (!immediate)
		return action_fail(ctx, STATE_TIMED_OUT, "the server did not stop within %d ms", timeout_ms);
	action_progress(ctx, -1, "killing a server that does not stop");
	if (signal_and_wait(pidfd, SIGKILL, timeout_ms))
		return 0;
	return action_fail(ctx, STATE_SYSTEM_ERROR, "the server cannot be killed");
}

static int
stop_by_command(ActionContext *ctx)
{
	int			rc = run_command(ctx, ctx->pg->stop_command, false);

	if (rc == 0 && control_running(ctx->pg))
		rc = action_fail(ctx, STATE_EXTERNAL_ROUTINE, "the server still runs after \"%s\"", ctx->pg->stop_command[0]);
	return rc;
}

int
control_stop(ActionContext *ctx, bool immediate, int timeout_ms)
{
	const PgInstance *pg = ctx->pg;
	char	   *systemctl[] = {"/usr/bin/systemctl", "stop", pg->unit, NULL};
	int			pidfd;
	int			rc = 0;

	if (!control_running(ctx->pg))
		return 0;
	if (pg->control == PG_CONTROL_COMMAND)
		return stop_by_command(ctx);
	pidfd = postmaster_open(pg->data);
	if (pidfd >= 0)
	{
		rc = stop_postmaster(ctx, pidfd, immediate, timeout_ms);
		close(pidfd);
	}
	if (rc == 0 && pg->control == PG_CONTROL_SYSTEMCTL)
		rc = run_command(ctx, systemctl, false);
	return rc;
}

static int
start_by_pg_ctlcluster(ActionContext *ctx)
{
	char	   *version = xstrdup(ctx->pg->cluster);
	char	   *slash = strchr(version, '/');
	char	   *argv[] = {"/usr/bin/pg_ctlcluster", version, slash ? slash + 1 : "main", "start", NULL};
	int			rc;

	if (slash)
		*slash = '\0';
	rc = run_command(ctx, argv, true);
	free(version);
	return rc;
}

/* pg_ctl gives its -o to a shell. */
static void
add_quoted(Text *text, const char *option)
{
	text_add(text, " '", 2);
	for (; *option; option++)
		if (*option == '\'')
			text_add(text, "'\\''", 4);
		else
			text_add(text, option, 1);
	text_add(text, "'", 1);
}

static int
start_by_pg_ctl(ActionContext *ctx)
{
	const PgInstance *pg = ctx->pg;
	char	   *program = bin_path(ctx->pg, "pg_ctl");
	char	  **options = postmaster_options(pg->data);
	Text		all = {0};
	int			rc;

	/* by default the server syncs every single file before it recovers: 0.3 s for an empty database */
	text_addf(&all, "-c " OUR_SYNC_OPTION);
	for (int i = 0; options && options[i]; i++)
		add_quoted(&all, options[i]);
	rc = run_command(ctx, (char *[]) {program, "start", "-D", pg->data, "-l", pg->log, "-W", "-s", "-o", all.data,
									  NULL}, true);
	free(all.data);
	text_free_list(options);
	free(program);
	return rc;
}

static void
fail_ended(ActionContext *ctx)
{
	char	   *why = serverlog_last_words(ctx->pg);

	action_fail(ctx, STATE_CONNECTION_FAILURE, "the server ended while it started%s%s", why ? ": " : "",
				why ? why : "");
	action_hint(ctx, "See its log.");
	free(why);
}

/* systemctl tells that a unit has failed, and not why. */
static int
start_by_systemctl(ActionContext *ctx)
{
	char	   *argv[] = {"/usr/bin/systemctl", "start", ctx->pg->unit, NULL};
	int			rc = run_command(ctx, argv, true);
	char	   *why = rc < 0 && !control_running(ctx->pg) ? serverlog_last_words(ctx->pg) : NULL;

	if (why)
	{
		action_forget_error(ctx);
		fail_ended(ctx);
	}
	free(why);
	return rc;
}

int
control_start(ActionContext *ctx)
{
	const PgInstance *pg = ctx->pg;

	if (control_running(ctx->pg))
		return 0;
	postmaster_forget_stale(pg->data);
	serverlog_mark(ctx->pg);
	switch (pg->control)
	{
		case PG_CONTROL_PG_CTL:
			return start_by_pg_ctl(ctx);
		case PG_CONTROL_PG_CTLCLUSTER:
			return start_by_pg_ctlcluster(ctx);
		case PG_CONTROL_SYSTEMCTL:
			return start_by_systemctl(ctx);
		case PG_CONTROL_COMMAND:
			return run_command(ctx, pg->start_command, true);
	}
	return -1;
}

char *
control_start_words(const PgInstance *pg)
{
	Text		words = {0};

	switch (pg->control)
	{
		case PG_CONTROL_PG_CTL:
			text_addf(&words, "%s/pg_ctl -D %s -l %s start", pg->bin, pg->data, pg->log);
			break;
		case PG_CONTROL_PG_CTLCLUSTER:
			text_addf(&words, "pg_ctlcluster %s start", pg->cluster);
			break;
		case PG_CONTROL_SYSTEMCTL:
			text_addf(&words, "systemctl start %s", pg->unit);
			break;
		case PG_CONTROL_COMMAND:
			for (int i = 0; pg->start_command[i]; i++)
				text_addf(&words, "%s%s", i ? " " : "", pg->start_command[i]);
			break;
	}
	return words.data;
}

/* The postmaster's own word for it, in its file; asking by connecting would fill the server's log. */
static bool
says(const PgInstance *pg, const char *status)
{
	return strcmp(pidfile_read(pg->data).status, status) == 0;
}

PGconn *
control_wait_ready(ActionContext *ctx, double deadline)
{
	double		appears_by = clock_monotonic_ms() + APPEAR_MS;
	bool		seen = false;
	char		error[512] = "";

	while (clock_monotonic_ms() < deadline)
	{
		PGconn	   *conn = NULL;

		if (says(ctx->pg, "standby"))
		{
			action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server is a standby that accepts no connections");
			action_hint(ctx, "Set hot_standby = on there, and restart it.");
			return NULL;
		}
		if (says(ctx->pg, "ready"))
			conn = pg_local(ctx->pg, NULL, 10000, error, sizeof(error));
		if (conn)
			return conn;
		if (control_running(ctx->pg))
			seen = true;
		else if (seen || clock_monotonic_ms() > appears_by)
		{
			fail_ended(ctx);
			return NULL;
		}
		if (action_cancelled(ctx))
		{
			action_fail(ctx, STATE_CANCELED, "the job was cancelled");
			return NULL;
		}
		sleep_ms(POLL_MS);
	}
	action_fail(ctx, STATE_TIMED_OUT, "the server did not accept connections in time: %s", error);
	return NULL;
}
