/*
 * control.c
 *		Starting and stopping the local server, by whichever means it is managed.
 *
 * Stopping is a signal to the postmaster and a pidfd that tells its end at once: pg_ctl
 * looks each 100 ms only.  With systemctl the unit is stopped afterwards, so that it is
 * not started behind our back; with a configured command only that is run.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/control.h"

#define COMMAND_TIMEOUT_MS 60000
#define POLL_MS 2
#define APPEAR_MS 5000			/* from the start command's end to postmaster.pid */

char *
data_path(const AgentConfig *config, const char *name)
{
	return xasprintf("%s/%s", config->pg.data, name);
}

char *
bin_path(const AgentConfig *config, const char *name)
{
	return xasprintf("%s/%s", config->pg.bin, name);
}

/* A zombie (in a container without an init) is not a server any more. */
static bool
is_zombie(pid_t pid)
{
	char		path[64];
	char	   *stat;
	char	   *end;
	bool		zombie;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
	/* /proc says size 0, which file_read() takes by its word */
	FILE	   *file = fopen(path, "re");
	char		line[256];

	if (!file)
		return false;
	stat = fgets(line, sizeof(line), file);
	fclose(file);
	end = stat ? strrchr(stat, ')') : NULL;
	zombie = end && end[1] == ' ' && (end[2] == 'Z' || end[2] == 'X');
	return zombie;
}

pid_t
control_postmaster(const AgentConfig *config)
{
	char	   *path = data_path(config, "postmaster.pid");
	char	   *text = file_read(path, 4096, NULL);
	long		pid = text ? labs(strtol(text, NULL, 10)) : 0;

	free(text);
	free(path);
	if (pid <= 1 || (kill((pid_t) pid, 0) < 0 && errno == ESRCH) || is_zombie((pid_t) pid))
		return 0;
	return (pid_t) pid;
}

/* Signals it and waits for its end; false: it still runs. */
static bool
signal_and_wait(pid_t pid, int signal_number, int timeout_ms)
{
	int			pidfd = pidfd_open(pid, 0);
	struct pollfd fd = {pidfd, POLLIN, 0};
	bool		gone;

	if (pidfd < 0)
		return errno == ESRCH;
	gone = pidfd_send_signal(pidfd, signal_number, NULL, 0) < 0 && errno == ESRCH;
	if (!gone)
		gone = poll(&fd, 1, timeout_ms) == 1;
	close(pidfd);
	return gone;
}

static int
run_command(ActionContext *ctx, char *const *argv, bool server)
{
	ChildOptions options = {.timeout_ms = COMMAND_TIMEOUT_MS, .server = server};
	int			rc = child_run(ctx, argv, &options);

	if (rc > 0)
		return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "\"%s\" ended with status %d", argv[0], rc);
	return rc;
}

static int
stop_postmaster(ActionContext *ctx, pid_t pid, bool immediate, int timeout_ms)
{
	if (signal_and_wait(pid, immediate ? SIGQUIT : SIGINT, timeout_ms))
		return 0;
	if (!immediate)
		return action_fail(ctx, STATE_TIMED_OUT, "the server did not stop within %d ms", timeout_ms);
	action_progress(ctx, -1, "killing a server that does not stop");
	if (signal_and_wait(pid, SIGKILL, timeout_ms))
		return 0;
	return action_fail(ctx, STATE_SYSTEM_ERROR, "the server cannot be killed");
}

int
control_stop(ActionContext *ctx, bool immediate, int timeout_ms)
{
	const PgConfig *pg = &ctx->config->pg;
	pid_t		pid = control_postmaster(ctx->config);
	char	   *systemctl[] = {"/usr/bin/systemctl", "stop", pg->unit, NULL};
	int			rc = 0;

	if (pid == 0)
		return 0;
	if (pg->control == PG_CONTROL_COMMAND)
	{
		rc = run_command(ctx, pg->stop_command, false);
		if (rc == 0 && control_postmaster(ctx->config) != 0)
			rc = action_fail(ctx, STATE_EXTERNAL_ROUTINE, "the server still runs after \"%s\"", pg->stop_command[0]);
		return rc;
	}
	rc = stop_postmaster(ctx, pid, immediate, timeout_ms);
	if (rc == 0 && pg->control == PG_CONTROL_SYSTEMCTL)
		rc = run_command(ctx, systemctl, false);
	return rc;
}

static int
start_by_pg_ctlcluster(ActionContext *ctx)
{
	char	   *version = xstrdup(ctx->config->pg.cluster);
	char	   *slash = strchr(version, '/');
	char	   *argv[] = {"/usr/bin/pg_ctlcluster", version, slash ? slash + 1 : "main", "start", NULL};
	int			rc;

	if (slash)
		*slash = '\0';
	rc = run_command(ctx, argv, true);
	free(version);
	return rc;
}

static int
start_by_pg_ctl(ActionContext *ctx)
{
	const PgConfig *pg = &ctx->config->pg;
	char	   *program = bin_path(ctx->config, "pg_ctl");
	/* by default the server syncs every single file before it recovers: 0.3 s for an empty database */
	char	   *argv[] = {program, "start", "-D", pg->data, "-l", pg->log, "-W", "-s",
	"-o", "-c recovery_init_sync_method=syncfs", NULL};
	int			rc = run_command(ctx, argv, true);

	free(program);
	return rc;
}

int
control_start(ActionContext *ctx)
{
	const PgConfig *pg = &ctx->config->pg;
	char	   *systemctl[] = {"/usr/bin/systemctl", "start", pg->unit, NULL};

	if (control_postmaster(ctx->config) != 0)
		return 0;
	switch (pg->control)
	{
		case PG_CONTROL_PG_CTL:
			return start_by_pg_ctl(ctx);
		case PG_CONTROL_PG_CTLCLUSTER:
			return start_by_pg_ctlcluster(ctx);
		case PG_CONTROL_SYSTEMCTL:
			return run_command(ctx, systemctl, true);
		case PG_CONTROL_COMMAND:
			return run_command(ctx, pg->start_command, true);
	}
	return -1;
}

/* The postmaster's own word for it, in its file; asking by connecting would fill the server's log. */
static bool
accepts_connections(const AgentConfig *config)
{
	char	   *path = data_path(config, "postmaster.pid");
	char	   *text = file_read(path, 4096, NULL);
	char	   *line = text;
	bool		ready;

	for (int i = 1; line && i < 8; i++)
	{
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	ready = line && strncmp(line, "ready", 5) == 0;
	free(text);
	free(path);
	return ready;
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

		if (accepts_connections(ctx->config))
			conn = pg_local(ctx->config, NULL, 10000, error, sizeof(error));
		if (conn)
			return conn;
		if (control_postmaster(ctx->config) != 0)
			seen = true;
		else if (seen || clock_monotonic_ms() > appears_by)
		{
			action_fail(ctx, STATE_CONNECTION_FAILURE, "the server ended while it started");
			action_hint(ctx, "See its log.");
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
