/*
 * check.c
 *		--check: the configuration and what it can reach, one line a thing.
 */
#include <errno.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/control.h"
#include "agent/endpoint.h"
#include "agent/http.h"

static int	failures;

static void
report(bool ok, const char *format,...)
{
	va_list		args;

	printf("%-4s ", ok ? "ok" : "FAIL");
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	failures += !ok;
}

/* An agent that runs already holds the address: that is fine, if it is an agent. */
static void
check_listen_address(const AgentConfig *config)
{
	ListenAddress address;
	int			fd;

	listen_parse(config->listen, &address);
	fd = listen_open(&address);
	if (fd < 0)
		report(errno == EADDRINUSE, "listen %s: %s%s", config->listen, strerror(errno),
			   errno == EADDRINUSE ? " (by the running agent?)" : "");
	else
		report(true, "listen %s%s", config->listen, config->tls_cert ? " with TLS" : "");
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && address.address.any.sa_family == AF_UNIX)
		unlink(address.address.unix_.sun_path);
}

static void
check_state(const AgentConfig *config)
{
	struct stat st;
	bool		made = make_directory(config->state_dir, 0700) == 0;

	report(made && access(config->state_dir, W_OK | X_OK) == 0, "state_dir %s is writable", config->state_dir);
	if (made && stat(config->state_dir, &st) == 0)
		report((st.st_mode & 022) == 0, "state_dir %s is writable by its owner alone", config->state_dir);
	if (config->tls_key && stat(config->tls_key, &st) == 0)
		report((st.st_mode & 077) == 0, "tls_key %s is readable by its owner alone", config->tls_key);
}

static void
check_program(const char *path)
{
	report(access(path, X_OK) == 0, "program %s", path);
}

static void
check_binaries(const AgentConfig *config)
{
	static const char *const names[] = {"pg_ctl", "pg_rewind", "pg_basebackup", "pg_waldump", "postgres", NULL};

	for (int i = 0; names[i]; i++)
	{
		char	   *path = bin_path(config, names[i]);

		check_program(path);
		free(path);
	}
	switch (config->pg.control)
	{
		case PG_CONTROL_PG_CTL:
			break;
		case PG_CONTROL_PG_CTLCLUSTER:
			check_program("/usr/bin/pg_ctlcluster");
			break;
		case PG_CONTROL_SYSTEMCTL:
			check_program("/usr/bin/systemctl");
			break;
		case PG_CONTROL_COMMAND:
			check_program(config->pg.start_command[0]);
			check_program(config->pg.stop_command[0]);
			break;
	}
}

/* "systemctl show" and "pg_ctl status" change nothing and prove that the server can be named. */
static void
check_control(const AgentConfig *config)
{
	char	   *pg_ctl = bin_path(config, "pg_ctl");
	char	   *by_pg_ctl[] = {pg_ctl, "status", "-D", config->pg.data, NULL};
	char	   *by_systemctl[] = {"/usr/bin/systemctl", "cat", config->pg.unit, NULL};
	int			rc = 0;

	if (config->pg.control == PG_CONTROL_SYSTEMCTL)
		rc = child_run_quietly(by_systemctl, 10000);
	else if (config->pg.control == PG_CONTROL_PG_CTL)
		rc = child_run_quietly(by_pg_ctl, 10000);
	report(rc == 0, "control of the server in %s", config->pg.data);
	free(pg_ctl);
}

static void
check_postgres(const AgentConfig *config)
{
	char		error[256];
	struct stat st;
	PGconn	   *conn;
	char	   *super;
	char	   *data;

	if (!config->pg.present)
		return;
	report(stat(config->pg.data, &st) == 0 && st.st_uid == geteuid(), "data directory %s belongs to this user",
		   config->pg.data);
	check_binaries(config);
	check_control(config);
	conn = pg_local(config, NULL, 5000, error, sizeof(error));
	report(conn != NULL, "connection to PostgreSQL, port %d%s%s", config->pg.port, conn ? "" : ": ", conn ? "" : error);
	if (!conn)
		return;
	super = pg_value(conn, "SELECT pg_catalog.current_setting('is_superuser')");
	report(super && strcmp(super, "on") == 0, "user %s is a superuser", config->pg.superuser);
	data = pg_value(conn, "SELECT pg_catalog.current_setting('data_directory')");
	report(data && strcmp(data, config->pg.data) == 0, "the server on port %d serves %s", config->pg.port,
		   config->pg.data);
	free(data);
	free(super);
	PQfinish(conn);
}

static void
check_bouncer(const BouncerConfig *bouncer)
{
	char		error[256];
	PGconn	   *conn = admin_connect(bouncer, error, sizeof(error));
	PGresult   *res = conn ? admin_query(conn, "SHOW VERSION", ADMIN_TIMEOUT_MS, error, sizeof(error)) : NULL;
	char	   *folder = xstrdup(bouncer->file);

	report(res != NULL, "console of PgBouncer %s%s%s", bouncer->name, res ? "" : ": ", res ? "" : error);
	report(file_exists(bouncer->file) && access(bouncer->file, R_OK | W_OK) == 0 && access(dirname(folder), W_OK) == 0,
		   "file %s and its folder are writable", bouncer->file);
	free(folder);
	PQclear(res);
	PQfinish(conn);
}

/* Whoever can change a hook can do what the agent can. */
static void
check_hook(const HookConfig *hook)
{
	struct stat st;
	bool		found = stat(hook->argv[0], &st) == 0;

	report(found && access(hook->argv[0], X_OK) == 0, "hook %s: %s can be executed", hook->name, hook->argv[0]);
	if (found)
		report((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & 022) == 0,
			   "hook %s: %s can be changed by root or this user alone", hook->name, hook->argv[0]);
}

int
check_run(const char *path)
{
	char		error[512];
	AgentConfig *config = config_read(path, error, sizeof(error));

	report(config != NULL, "configuration %s%s%s", path, config ? "" : ": ", config ? "" : error);
	if (!config)
		return 1;
	log_set_level(LOG_LEVEL_ERROR);
	check_state(config);
	check_listen_address(config);
	check_postgres(config);
	for (int i = 0; i < config->n_bouncers; i++)
		check_bouncer(&config->bouncers[i]);
	for (int i = 0; i < config->n_hooks; i++)
		check_hook(&config->hooks[i]);
	config_free(config);
	return failures ? 1 : 0;
}
