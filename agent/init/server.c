/*
 * server.c
 *		What PostgreSQL lacks: settings, roles, lines of pg_hba.conf. Shown, and made where that was told (--apply).
 *
 * A setting counts as the files have it (pg_file_settings), not as the server runs with it: one that waits for a
 * restart is not made again. A node that is to become a standby needs none of it: the base backup brings settings and
 * roles of the primary, and the agent those that are the node's own.
 */
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/init/place.h"
#include "agent/init/say.h"
#include "agent/init/server.h"
#include "agent/init/texts.h"
#include "agent/pg/formats.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"

#define STATEMENT_MS 10000
#define HBA_MAX (4 * 1024 * 1024)
#define LIBRARY "pg_pingpong"
#define HBA_BEGIN "# pingpong-agent init: logins of the agents"

typedef struct Server
{
	const InitSite *site;
	const InitHost *host;
	const InitOptions *options;
	PGconn	   *conn;
	bool		standby;
	bool		restart;
	bool		reload;
} Server;

/* ---- settings ---- */

/* As the files have it, or else as the server has it; malloc'd. */
static char *
configured(Server *server, const char *name)
{
	static const char sql[] =
		"SELECT coalesce((SELECT setting FROM pg_catalog.pg_file_settings WHERE name = $1 ORDER BY seqno DESC "
		"LIMIT 1), pg_catalog.current_setting($1, true), '')";
	PGresult   *res = pg_query(server->conn, NULL, 0, sql, 1, &name);
	char	   *value = xstrdup(res && PQntuples(res) == 1 ? PQgetvalue(res, 0, 0) : "");

	PQclear(res);
	return value;
}

static bool
runs_with(Server *server, const char *name, const char *value)
{
	const char *values[] = {name, value};
	PGresult   *res = pg_query(server->conn, NULL, 0,
							   "SELECT coalesce(pg_catalog.current_setting($1, true), '') = $2", 2, values);
	bool		same = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "t") == 0;

	PQclear(res);
	return same;
}

/* In quotes a list would be one word, and the server would not start. Malloc'd. */
static char *
alter_sql(const char *name, const char *value)
{
	char	   *literal = strcmp(name, "shared_preload_libraries") == 0 ? xstrdup(value) : sql_literal(value);
	char	   *sql = xasprintf("ALTER SYSTEM SET %s = %s", name, literal);

	free(literal);
	return sql;
}

/* A setting of a module that is not loaded yet is unknown to ALTER SYSTEM, unless the session has it. */
static int
alter_system(Server *server, const char *name, const char *value)
{
	char	   *literal = sql_literal(value);
	char	   *sql = alter_sql(name, value);
	char	   *session = xasprintf("SET %s = %s", name, literal);
	char		error[512];
	PGresult   *res;

	if (strchr(name, '.'))
		PQclear(pg_query(server->conn, NULL, 0, session, 0, NULL));
	res = pg_query(server->conn, error, sizeof(error), sql, 0, NULL);
	if (!res)
		init_say(INIT_FAIL, "%s: %s", sql, error);
	else
		init_say(INIT_MADE, "%s", sql);
	server->reload = server->reload || res;
	PQclear(res);
	free(session);
	free(sql);
	free(literal);
	return init_failures ? -1 : 0;
}

/* One that is configured already may still wait for its restart. */
static int
setting(Server *server, const char *name, const char *value, bool restart)
{
	char	   *present = configured(server, name);
	bool		fine = strcmp(present, value) == 0;
	bool		live = fine && runs_with(server, name, value);
	char	   *sql = alter_sql(name, value);
	int			rc = 0;

	if (fine)
		init_say(INIT_OK, "%s = %s%s", name, value, live || !restart ? "" : " (after a restart)");
	else if (server->options->dry_run || !server->options->apply)
		init_say(server->options->dry_run ? INIT_WOULD : INIT_TODO,
				 "%s;%s   -- now: %s", sql, restart ? " and restart" : "", *present ? present : "not set");
	else
		rc = alter_system(server, name, value);
	server->restart = server->restart || (restart && !live);
	free(sql);
	free(present);
	return rc;
}

/* First in the list: its callback at a commit is then called last (docs/architecture.md). */
static int
preload(Server *server)
{
	char	   *present = configured(server, "shared_preload_libraries");
	char	   *value = !*present ? xstrdup(LIBRARY) : strstr(present, LIBRARY) ? xstrdup(present) :
		xasprintf(LIBRARY ", %s", present);
	int			rc = setting(server, "shared_preload_libraries", value, true);

	free(value);
	free(present);
	return rc;
}

/* At least so much; more is fine. */
static int
at_least(Server *server, const char *name, int wanted)
{
	char	   *present = configured(server, name);
	char		value[16];
	int			rc;

	snprintf(value, sizeof(value), "%d", wanted);
	rc = setting(server, name, atoi(present) >= wanted ? present : value, true);
	free(present);
	return rc;
}

/* "is": the value will not do; then `value` is wanted, else what is there. */
static int
unless(Server *server, const char *name, const char *is, const char *value)
{
	char	   *present = configured(server, name);
	int			rc = setting(server, name, strcmp(present, is) == 0 || !*present ? value : present, true);

	free(present);
	return rc;
}

static int
settings(Server *server)
{
	const InitOptions *options = server->options;
	char	   *token = site_path(options, "token");
	char	   *ca = site_path(options, "ca.crt");
	int			rc = preload(server);

	if (rc == 0)
		rc = unless(server, "wal_level", "minimal", "replica");
	if (rc == 0)
		rc = unless(server, "hot_standby", "off", "on");
	if (rc == 0)
		rc = at_least(server, "max_wal_senders", 4 + options->n_peers);
	if (rc == 0)
		rc = at_least(server, "max_replication_slots", 4 + options->n_peers);
	if (rc == 0 && !pg_is_true(server->conn, "SELECT pg_catalog.current_setting('data_checksums') = 'on'"))
		rc = setting(server, "wal_log_hints", "on", true);
	if (rc == 0 && options->n_peers)
		rc = unless(server, "listen_addresses", "localhost", "*");
	if (rc == 0)
		rc = setting(server, "pingpong.database", options->database, true);
	if (rc == 0)
		rc = setting(server, "pingpong.node_name", options->node, true);
	if (rc == 0)
		rc = setting(server, "pingpong.agent_token_file", token, true);
	if (rc == 0 && server->site->ca)
		rc = setting(server, "pingpong.agent_ca_file", ca, true);
	free(ca);
	free(token);
	return rc;
}

/* ---- roles ---- */

/* The password goes over as its verifier: it is in no log and no list of statements. */
static int
create_role(Server *server, const char *name, const char *attributes, const char *password)
{
	char	   *verifier = PQencryptPasswordConn(server->conn, password, name, "scram-sha-256");
	char	   *sql = xasprintf("CREATE ROLE %s LOGIN%s PASSWORD '%s'", name, attributes, verifier ? verifier : "");
	char		error[512];
	PGresult   *res = verifier ? pg_query(server->conn, error, sizeof(error), sql, 0, NULL) : NULL;

	if (res)
		init_say(INIT_MADE, "role %s", name);
	else
		init_say(INIT_FAIL, "role %s: %s", name, verifier ? error : "its password cannot be encrypted");
	PQclear(res);
	free(sql);
	if (verifier)
		PQfreemem(verifier);
	return init_failures ? -1 : 0;
}

/* With the password that the agents have, no other one? Not asked: the server tells nobody. */
static int
role(Server *server, const char *name, const char *attributes, const char *password)
{
	char	   *exists = xasprintf("SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '%s')", name);
	int			rc = 0;

	if (pg_is_true(server->conn, exists))
		init_say(INIT_OK, "role %s", name);
	else if (server->options->dry_run || !server->options->apply)
		init_say(server->options->dry_run ? INIT_WOULD : INIT_TODO,
				 "CREATE ROLE %s LOGIN%s PASSWORD '...';   -- that of %s/pgpass", name, attributes,
				 server->options->dir);
	else
		rc = create_role(server, name, attributes, password);
	free(exists);
	return rc;
}

/* What pg_rewind calls, by the manual of PostgreSQL; and pg_checkpoint, without which it may wait for minutes. */
static int
rewind_rights(Server *server)
{
	static const char missing[] =
		"SELECT pg_catalog.pg_has_role('" REWIND_ROLE "', 'pg_checkpoint', 'USAGE') AND pg_catalog.bool_and("
		"pg_catalog.has_function_privilege('" REWIND_ROLE "', f::regprocedure, 'EXECUTE')) FROM (VALUES "
		"('pg_catalog.pg_ls_dir(text,boolean,boolean)'), ('pg_catalog.pg_stat_file(text,boolean)'), "
		"('pg_catalog.pg_read_binary_file(text)'), "
		"('pg_catalog.pg_read_binary_file(text,bigint,bigint,boolean)')) x (f)";
	static const char grant[] =
		"GRANT pg_checkpoint TO " REWIND_ROLE "; GRANT EXECUTE ON FUNCTION "
		"pg_catalog.pg_ls_dir(text, boolean, boolean), pg_catalog.pg_stat_file(text, boolean), "
		"pg_catalog.pg_read_binary_file(text), pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO "
		REWIND_ROLE;
	char		error[512];
	PGresult   *res;

	if (pg_is_true(server->conn, missing))
		init_say(INIT_OK, "rights of %s", REWIND_ROLE);
	else if (server->options->dry_run || !server->options->apply)
		init_say(server->options->dry_run ? INIT_WOULD : INIT_TODO, "%s;", grant);
	else
	{
		res = pg_query(server->conn, error, sizeof(error), grant, 0, NULL);
		if (res)
			init_say(INIT_MADE, "rights of %s", REWIND_ROLE);
		else
			init_say(INIT_FAIL, "rights of %s: %s", REWIND_ROLE, error);
		PQclear(res);
	}
	return init_failures ? -1 : 0;
}

static int
roles(Server *server)
{
	int			rc = role(server, REPLICATION_ROLE, " REPLICATION", server->site->replication_password);

	if (rc == 0)
		rc = role(server, REWIND_ROLE, "", server->site->rewind_password);
	return rc == 0 ? rewind_rights(server) : rc;
}

/* ---- pg_hba.conf ---- */

/* Is it there, however its words are set apart? */
static bool
has_line(const char *text, const char *line)
{
	char	  **wanted = text_split_words(line);
	bool		found = false;

	while (!found && *text)
	{
		char	   *copy = xasprintf("%.*s", (int) strcspn(text, "\n"), text);
		char	  **words = text_split_words(copy);
		int			i = 0;

		while (wanted[i] && words && words[i] && strcmp(wanted[i], words[i]) == 0)
			i++;
		found = !wanted[i];
		text_free_list(words);
		free(copy);
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	text_free_list(wanted);
	return found;
}

static int
write_hba(const InitHost *host, const char *path, const char *present, char *const *missing)
{
	Text		text = {0};
	size_t		size = strlen(present);
	int			rc;

	text_addf(&text, "%s%s%s", present, size && present[size - 1] != '\n' ? "\n" : "",
			  strstr(present, HBA_BEGIN) ? "" : HBA_BEGIN "\n");
	for (int i = 0; missing[i]; i++)
		text_addf(&text, "%s\n", missing[i]);
	host_as_owner(host);
	rc = place_edit(host, path, text.data);
	host_as_self(host);
	if (rc == 0)
		init_say(INIT_MADE, "%d lines at the end of %s (a copy: .before-init)", text_list_length(missing), path);
	free(text.data);
	return rc;
}

/* What is missing goes to the end: a line before it that refuses these logins counts first, as preflight tells. */
static int
hba(const InitHost *host, const InitOptions *options, const char *path, bool *changed)
{
	char	   *present = file_read(path, HBA_MAX, NULL);
	const char *unknown;
	char	  **lines = text_hba_lines(options, &unknown);
	char	  **missing = NULL;
	int			rc = 0;

	for (int i = 0; present && lines && lines[i]; i++)
		if (!has_line(present, lines[i]))
			text_append(&missing, xstrdup(lines[i]));
	if (!present)
		init_say(INIT_TODO, "%s cannot be read: %s", path, strerror(errno));
	else if (!missing)
		init_say(INIT_OK, "%s", path);
	else if (options->dry_run || !options->apply)
	{
		init_say(options->dry_run ? INIT_WOULD : INIT_TODO, "lines that %s lacks:", path);
		for (int i = 0; missing[i]; i++)
			init_more("%s", missing[i]);
	}
	else
	{
		rc = write_hba(host, path, present, missing);
		*changed = true;
	}
	if (unknown)
		init_say(INIT_TODO, "no address of %s that others see is known here: its lines of %s are missing "
				 "(--host ADDRESS or --peer NAME=ADDRESS tells it)", unknown, path);
	text_free_list(missing);
	text_free_list(lines);
	free(present);
	return rc;
}

/* ---- a cluster that makes room ---- */

/*
 * Nobody has used it: no database but those of initdb, nothing in them that a user made, and no other role. What is
 * only in another database is not looked at, because there is none.
 */
static bool
is_unused(PGconn *conn)
{
	static const char sql[] =
		"SELECT NOT pg_catalog.pg_is_in_recovery() "
		"AND NOT EXISTS (SELECT FROM pg_catalog.pg_database "
		"WHERE datname NOT IN ('postgres', 'template0', 'template1')) "
		"AND NOT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= 16384) "
		"AND NOT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384) "
		"AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE oid >= 16384) "
		"AND NOT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE oid >= 16384) "
		"AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' "
		"AND pid <> pg_catalog.pg_backend_pid())";

	return pg_is_true(conn, sql);
}

static int
stop_server(const InitHost *host)
{
	const PgInstance *pg = host->pg;
	char	   *pg_ctl = bin_path(pg, "pg_ctl");
	char	   *version = pg->cluster ? xstrdup(pg->cluster) : NULL;
	char	   *slash = version ? strchr(version, '/') : NULL;
	int			rc;

	if (slash)
		*slash = '\0';
	if (pg->control == PG_CONTROL_SYSTEMCTL)
		rc = host_run(host, false, (char *[]) {"/usr/bin/systemctl", "stop", pg->unit, NULL});
	else if (pg->control == PG_CONTROL_PG_CTLCLUSTER && slash)
		rc = host_run(host, true, (char *[]) {"/usr/bin/pg_ctlcluster", version, slash + 1, "stop", NULL});
	else
		rc = host_run(host, true, (char *[]) {pg_ctl, "-D", pg->data, "-m", "fast", "-w", "-s", "stop", NULL});
	free(version);
	free(pg_ctl);
	return rc;
}

/* The folder is renamed, never emptied; a new one, empty, is in its place. */
static int
move_aside(const InitHost *host)
{
	const char *data = host->pg->data;
	char	   *aside = xasprintf("%s.before-init", data);
	struct stat st;
	int			rc = -1;

	if (file_exists(aside))
		init_say(INIT_FAIL, "%s exists already", aside);
	else if (stop_server(host) != 0)
		init_say(INIT_FAIL, "the server in %s could not be stopped", data);
	else
	{
		host_as_owner(host);
		if (file_exists_in(data, "postmaster.pid"))
			init_say(INIT_FAIL, "the server in %s still runs", data);
		else if (stat(data, &st) < 0 || rename(data, aside) < 0 || mkdir(data, 0700) < 0)
			init_say(INIT_FAIL, "%s could not be renamed: %s", data, strerror(errno));
		else
			rc = 0;
		host_as_self(host);
	}
	if (rc == 0)
		init_say(INIT_MADE, "%s is empty; the unused cluster is in %s", data, aside);
	free(aside);
	return rc;
}

/* A server of its own where a standby is to be. */
static int
make_room(const InitHost *host, const InitOptions *options, PGconn *conn)
{
	const char *data = host->pg->data;
	bool		unused = is_unused(conn);

	PQfinish(conn);
	if (!unused)
	{
		init_say(INIT_TODO, "the server in %s is a primary of its own, and has been used", data);
		init_more("to have a standby here: stop it, and move %s away", data);
	}
	else if (!options->set_aside || options->dry_run)
		init_say(options->dry_run ? INIT_WOULD : INIT_TODO,
				 "move the unused cluster in %s away (--set-aside does it)", data);
	else
		return move_aside(host);
	return 0;
}

/* ---- together ---- */

static int
set_up_hba(const InitHost *host, const InitOptions *options, const char *running, bool *changed)
{
	char	   *path = running ? xstrdup(running) : config_path(host->pg, "pg_hba.conf");
	int			rc = 0;

	/* in a data directory that is empty yet the base backup brings the primary's */
	if (running || config_is_elsewhere(host->pg))
		rc = hba(host, options, path, changed);
	free(path);
	return rc;
}

static int
set_up_running(Server *server)
{
	char	   *path = pg_value(server->conn, "SELECT pg_catalog.current_setting('hba_file')");
	int			rc;

	server->standby = pg_is_true(server->conn, "SELECT pg_catalog.pg_is_in_recovery()");
	rc = settings(server);
	if (rc == 0 && !server->standby)
		rc = roles(server);
	if (rc == 0)
		rc = set_up_hba(server->host, server->options, path, &server->reload);
	if (rc == 0 && server->reload && !pg_is_true(server->conn, "SELECT pg_catalog.pg_reload_conf()"))
		init_say(INIT_FAIL, "the server could not be told to read its files again");
	free(path);
	return rc;
}

static PGconn *
connect_to(const InitHost *host, char *error, size_t error_size)
{
	PGconn	   *conn;

	host_as_owner(host);		/* "peer" in pg_hba.conf asks for the user */
	conn = pg_local(host->pg, NULL, STATEMENT_MS, error, error_size);
	host_as_self(host);
	return conn;
}

int
server_set_up(const InitSite *site, const InitHost *host, const InitOptions *options, bool *restart)
{
	Server		server = {.site = site, .host = host, .options = options};
	char		error[512];
	bool		changed;
	int			rc;

	*restart = false;
	if (!host->runs)
	{
		if (file_exists_in(host->pg->data, "PG_VERSION"))
			init_say(INIT_TODO, "PostgreSQL does not run: start it, and call this again");
		else
			init_say(INIT_OK, "%s is empty: pingpong.rebuild('%s') builds the standby", host->pg->data,
					 options->node);
		return set_up_hba(host, options, NULL, &changed);
	}
	server.conn = connect_to(host, error, sizeof(error));
	if (!server.conn)
	{
		init_say(INIT_FAIL, "no connection to PostgreSQL: %s", error);
		return -1;
	}
	if (options->joined && !pg_is_true(server.conn, "SELECT pg_catalog.pg_is_in_recovery()"))
	{
		rc = make_room(host, options, server.conn);
		return rc == 0 ? set_up_hba(host, options, NULL, &changed) : rc;
	}
	rc = set_up_running(&server);
	PQfinish(server.conn);
	*restart = server.restart;
	return rc;
}
