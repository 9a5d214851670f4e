/*
 * newconf.c
 *		The configuration of the new server.
 *
 * The server itself tells which settings its files hold (pg_file_settings), so includes need no reading of ours. They
 * become one file, which initdb's postgresql.conf includes at its end.
 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/pg/formats.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/upgrade/newconf.h"
#include "common/sqlstate.h"

#define CONF_MAX (1024 * 1024)
#define KNOWN_MAX (1024 * 1024)
#define ASK_TIMEOUT_MS 60000

typedef struct NewConf
{
	const Upgrade *upgrade;
	ActionContext *ctx;
	const char *folder;			/* has a postgresql.conf, so that the new major's server can be asked there */
	char	   *known;			/* what "postgres --describe-config" of the new major says */
	Text		lines;
	int			carried;
	json_t	   *dropped;
	json_t	   *left;
} NewConf;

/* ---- what the new major knows ---- */

static int
read_known(NewConf *conf)
{
	char	   *program = bin_path(conf->upgrade->new, "postgres");

	conf->known = xalloc(KNOWN_MAX);
	if (child_run_text((char *[]) {program, "--describe-config", NULL}, ASK_TIMEOUT_MS, conf->known, KNOWN_MAX) != 0)
		action_fail(conf->ctx, STATE_EXTERNAL_ROUTINE, "\"%s --describe-config\" failed", program);
	free(program);
	return conf->known[0] ? 0 : -1;
}

/* Each line begins with a name and a tab. */
static bool
is_described(const NewConf *conf, const char *name)
{
	size_t		len = strlen(name);

	for (const char *line = conf->known; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
		if (strncasecmp(line, name, len) == 0 && line[len] == '\t')
			return true;
	return false;
}

/* The description leaves some out, as those for developers; then the server is asked for the one. */
static bool
is_known(const NewConf *conf, const char *name)
{
	char	   *program;
	int			rc;

	if (strchr(name, '.') || is_described(conf, name))
		return true;
	program = bin_path(conf->upgrade->new, "postgres");
	rc = child_run_quietly((char *[]) {program, "-C", (char *) name, "-D", (char *) conf->folder, NULL},
						   ASK_TIMEOUT_MS);
	free(program);
	return rc == 0;
}

/* About the old folders, or made for one life of the server. */
static bool
is_about_old(const char *name)
{
	static const char *const names[] = {
		"data_directory", "config_file", "hba_file", "ident_file", "external_pid_file", NULL
	};

	for (int i = 0; names[i]; i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

/* ---- settings ---- */

static void
add_setting(NewConf *conf, const char *name, const char *value)
{
	char	   *line = conf_rewrite("", &(ConfSetting) {name, value}, 1);

	text_add(&conf->lines, line, strlen(line));
	conf->carried++;
	free(line);
}

static int
read_settings(NewConf *conf, PGconn *conn, json_t *carry)
{
	/* the last line of a name counts; one that needs a restart has an error, and counts from the next start on */
	static const char sql[] =
		"SELECT name, setting, of_system FROM (SELECT f.name, f.setting, f.sourcefile LIKE '%/postgresql.auto.conf', "
		"pg_catalog.row_number() OVER (PARTITION BY pg_catalog.lower(f.name), "
		"f.sourcefile LIKE '%/postgresql.auto.conf' ORDER BY f.seqno DESC) FROM pg_catalog.pg_file_settings f "
		"WHERE f.name IS NOT NULL) x (name, setting, of_system, place) WHERE place = 1 ORDER BY of_system, name";
	PGresult   *res = pg_query_or_fail(conf->ctx, conn, sql, 0, NULL);

	for (int i = 0; res && i < PQntuples(res); i++)
	{
		const char *name = PQgetvalue(res, i, 0);

		if (PQgetvalue(res, i, 2)[0] == 't' && !param_names(carry, name))
			json_array_append_new(conf->left, json_string(name));
		else if (is_about_old(name) || !is_known(conf, name))
			json_array_append_new(conf->dropped, json_string(name));
		else
			add_setting(conf, name, PQgetvalue(res, i, 1));
	}
	PQclear(res);
	return res ? 0 : -1;
}

static int
write_settings(NewConf *conf)
{
	char	   *main_file = data_path(conf->upgrade->new, "postgresql.conf");
	char	   *ours = data_path(conf->upgrade->new, CARRIED_FILE);
	char	   *text = file_read(main_file, CONF_MAX, NULL);
	char	   *all = text ? xasprintf("%s\n# the settings of the server of version %d\ninclude '" CARRIED_FILE "'\n",
									   text, conf->upgrade->from) : NULL;
	int			rc = -1;

	if (all && file_write_atomic(ours, conf->lines.data ? conf->lines.data : "", conf->lines.size, 0600, true) == 0)
		rc = file_write_atomic(main_file, all, strlen(all), 0600, true);
	if (rc < 0)
		action_fail(conf->ctx, STATE_IO_ERROR, "could not write the new configuration in \"%s\": %s",
					conf->upgrade->new->data, strerror(errno));
	free(all);
	free(text);
	free(ours);
	free(main_file);
	return rc;
}

/* ---- files ---- */

static int
carry_file(NewConf *conf, const char *from, const char *name)
{
	char	   *to = data_path(conf->upgrade->new, name);
	char	   *folder = xstrdup(to);
	int			rc = make_directory(dirname(folder), 0700) < 0 ? -1 : file_copy(from, to);

	if (rc < 0)
		action_fail(conf->ctx, STATE_IO_ERROR, "could not copy \"%s\" to \"%s\": %s", from, to, strerror(errno));
	free(folder);
	free(to);
	return rc;
}

/* pg_hba.conf and pg_ident.conf, wherever they are */
static int
carry_access(NewConf *conf, PGconn *conn, const char *setting, const char *name)
{
	char	   *sql = xasprintf("SELECT pg_catalog.current_setting('%s')", setting);
	char	   *from = pg_value(conn, sql);
	int			rc = from ? carry_file(conf, from, name) : pg_fail(conf->ctx, conn, NULL, setting);

	free(from);
	free(sql);
	return rc;
}

/* Certificates, keys and whatever else a setting names in the data directory; not those that are not there. */
static int
carry_named_files(NewConf *conf, PGconn *conn)
{
	static const char sql[] =
		"SELECT setting FROM pg_catalog.pg_settings WHERE name LIKE '%\\_file' AND vartype = 'string' "
		"AND setting <> '' AND setting NOT LIKE '/%' AND setting NOT LIKE '%..%' "
		"AND name NOT IN ('config_file', 'hba_file', 'ident_file', 'external_pid_file')";
	PGresult   *res = pg_query_or_fail(conf->ctx, conn, sql, 0, NULL);
	int			rc = res ? 0 : -1;

	for (int i = 0; rc == 0 && i < PQntuples(res); i++)
	{
		char	   *from = data_path(conf->upgrade->old, PQgetvalue(res, i, 0));

		if (file_exists(from))
			rc = carry_file(conf, from, PQgetvalue(res, i, 0));
		free(from);
	}
	PQclear(res);
	return rc;
}

/* ---- would it be the same server? ---- */

/* A module's setting that is in no file is not known there before the module is loaded; both have its default. */
static char *
value_here(PGconn *conn, const char *name)
{
	char	   *sql = xasprintf("SELECT setting FROM pg_catalog.pg_settings WHERE name = '%s' "
								"AND (name NOT LIKE '%%.%%' OR source <> 'default')", name);
	char	   *value = pg_value(conn, sql);

	free(sql);
	return value;
}

static int
check_same(NewConf *conf, PGconn *conn, const char *name)
{
	char	   *here = value_here(conn, name);
	char	   *program = bin_path(conf->upgrade->new, "postgres");
	char		there[1024] = "";
	int			rc = !here ? 0 : child_run_text((char *[]) {program, "-C", (char *) name, "-D",
															conf->upgrade->new->data, NULL},
												ASK_TIMEOUT_MS, there, sizeof(there));

	there[strcspn(there, "\n")] = '\0';
	if (rc != 0)
		action_fail(conf->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "version %d does not take the configuration: %s",
					conf->upgrade->to, there);
	else if (here && strcmp(here, there) != 0)
	{
		rc = action_fail(conf->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "the new server would have another \"%s\" than this one", name);
		action_hint(conf->ctx, "Set it in postgresql.conf, or name it in \"carry\" if ALTER SYSTEM has set it.");
	}
	free(program);
	free(here);
	return rc == 0 ? 0 : -1;
}

static int
check_result(NewConf *conf, PGconn *conn)
{
	static const char *const names[] = {
		"port", "unix_socket_directories", "listen_addresses", "shared_preload_libraries", "pingpong.database",
		"pingpong.node_name", "cluster_name", "wal_level", "max_connections", "max_worker_processes",
		"max_wal_senders", "max_replication_slots", "max_prepared_transactions", "max_locks_per_transaction", NULL
	};

	for (int i = 0; names[i]; i++)
		if (check_same(conf, conn, names[i]) < 0)
			return -1;
	return 0;
}

static void
tell(NewConf *conf, json_t *result)
{
	json_object_set_new(result, "carried", json_integer(conf->carried));
	json_object_set_new(result, "dropped", conf->dropped);
	json_object_set_new(result, "left", conf->left);
	free(conf->lines.data);
	free(conf->known);
}

int
newconf_write(const Upgrade *upgrade, PGconn *conn, json_t *carry, json_t *result)
{
	NewConf		conf = {.upgrade = upgrade, .ctx = upgrade->ctx, .folder = upgrade->new->data,
	.dropped = json_array(), .left = json_array()};
	int			rc = read_known(&conf);

	if (rc == 0 && (read_settings(&conf, conn, carry) < 0 || write_settings(&conf) < 0 ||
					carry_access(&conf, conn, "hba_file", "pg_hba.conf") < 0 ||
					carry_access(&conf, conn, "ident_file", "pg_ident.conf") < 0 ||
					carry_named_files(&conf, conn) < 0 || check_result(&conf, conn) < 0))
		rc = -1;
	tell(&conf, result);
	return rc;
}

int
newconf_look(const Upgrade *upgrade, PGconn *conn, json_t *result)
{
	char	   *folder = xasprintf("%s/settings-probe.%d", upgrade->ctx->config->state_dir, (int) getpid());
	char	   *file = xasprintf("%s/postgresql.conf", folder);
	NewConf		conf = {.upgrade = upgrade, .ctx = upgrade->ctx, .folder = folder,
	.dropped = json_array(), .left = json_array()};
	int			rc = -1;

	if (make_directory(folder, 0700) < 0 || file_write_atomic(file, "", 0, 0600, false) < 0)
		action_fail(conf.ctx, STATE_IO_ERROR, "could not write \"%s\": %s", file, strerror(errno));
	else
		rc = read_known(&conf) < 0 || read_settings(&conf, conn, NULL) < 0 ? -1 : 0;
	remove_tree(folder);
	tell(&conf, result);
	free(file);
	free(folder);
	return rc;
}
