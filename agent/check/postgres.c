/*
 * postgres.c
 *		--check: the servers, their programs, and whether this user may stop them.
 */
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/check/conninfo.h"
#include "agent/check/postgres.h"
#include "agent/check/say.h"
#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/control.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/rights.h"
#include "agent/pg/version.h"

static void
check_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		check_say(false, "program %s: %s", path, strerror(errno));
	else
		check_say(S_ISREG(st.st_mode) && access(path, X_OK) == 0, "program %s can be executed", path);
}

static void
check_programs(const PgInstance *pg)
{
	for (int i = 0; server_programs[i]; i++)
	{
		char	   *path = bin_path(pg, server_programs[i]);

		check_program(path);
		free(path);
	}
	switch (pg->control)
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
			check_program(pg->start_command[0]);
			check_program(pg->stop_command[0]);
			break;
	}
}

static void
check_control(const PgInstance *pg)
{
	const char *name = config_control_name(pg->control);
	char		why[1024];
	RightsVerdict verdict = rights_of_control(pg, why, sizeof(why));

	if (verdict == RIGHTS_UNKNOWN)
		check_warn("control = %s: not proved that the server can be stopped and started: %s", name, why);
	else
		check_say(verdict == RIGHTS_YES, "control = %s: %s", name, why);
}

static void
check_data(const PgInstance *pg)
{
	struct stat st;

	if (stat(pg->data, &st) < 0)
		check_say(false, "data directory %s: %s", pg->data, strerror(errno));
	else
		check_say(st.st_uid == geteuid(), "data directory %s belongs to this user", pg->data);
}

/* What a rewind or a base backup will have to change. */
static void
check_layout(const PgInstance *pg)
{
	char	   *problem = layout_problem(pg);

	check_say(problem == NULL, "folders of the data directory, its WAL and tablespaces can be changed%s%s",
			  problem ? ": " : "", problem ? problem : "");
	free(problem);
}

static void
check_log(const PgInstance *pg)
{
	char	   *copy = xstrdup(pg->log);
	bool		exists = access(pg->log, F_OK) == 0;

	if (pg->control == PG_CONTROL_PG_CTL)
		check_say(access(exists ? pg->log : dirname(copy), W_OK) == 0, "log %s can be written", pg->log);
	free(copy);
}

static bool
setting_is(PGconn *conn, const char *name, const char *expected)
{
	char	   *sql = xasprintf("SELECT pg_catalog.current_setting('%s')", name);
	char	   *value = pg_value(conn, sql);
	bool		same = value && strcmp(value, expected) == 0;

	free(value);
	free(sql);
	return same;
}

static void
check_connection(const PgInstance *pg)
{
	char		error[256];
	PGconn	   *conn = pg_local(pg, NULL, 5000, error, sizeof(error));
	char	   *libraries;

	check_say(conn != NULL, "connection to PostgreSQL, port %d%s%s", pg->port, conn ? "" : ": ", conn ? "" : error);
	if (!conn)
		return;
	check_say(setting_is(conn, "is_superuser", "on"), "user %s is a superuser", pg->superuser);
	check_say(setting_is(conn, "data_directory", pg->data), "the server on port %d serves %s", pg->port, pg->data);
	libraries = pg_value(conn, "SELECT pg_catalog.current_setting('shared_preload_libraries')");
	if (!libraries || !strstr(libraries, "pg_pingpong"))
		check_warn("pg_pingpong is not in shared_preload_libraries: no seal holds on this server");
	free(libraries);
	PQfinish(conn);
}

/* Programs of another major do not start the server that has made the data; 0 of either is told elsewhere. */
static void
check_version(const PgInstance *pg)
{
	int			programs = version_major(pg);
	int			data = version_of_data(pg);

	if (programs == 0)
		check_say(false, "programs in %s tell their version", pg->bin);
	else if (data == 0)
		check_say(true, "programs in %s are of version %d", pg->bin, programs);
	else
		check_say(programs == data, "programs in %s are of version %d, the data directory is of version %d", pg->bin,
				  programs, data);
}

/*
 * A further instance need not be there: before an upgrade the new one, after it the old one. What is there is looked
 * at. The main one has to run.
 */
static bool
is_expected(const PgInstance *pg)
{
	if (!*pg->name)
		return true;
	if (!file_exists(pg->data))
		check_warn("data directory %s does not exist yet", pg->data);
	else if (!control_running(pg))
		check_warn("the server does not run: its connection was not tried");
	else
		return true;
	return false;
}

static void
check_instance(const PgInstance *pg)
{
	bool		expected = is_expected(pg);

	if (expected || file_exists(pg->data))
	{
		check_data(pg);
		check_layout(pg);
	}
	check_programs(pg);
	check_version(pg);
	check_log(pg);
	check_control(pg);
	if (expected)
		check_connection(pg);
	check_conninfo("replication", pg->replication);
	check_conninfo("rewind", pg->rewind);
}

void
check_postgres(const AgentConfig *config)
{
	for (int i = 0; i < config->n_instances; i++)
	{
		check_about(config->n_instances > 1 ? config->instances[i].section : NULL);
		check_instance(&config->instances[i]);
	}
	check_about(NULL);
}
