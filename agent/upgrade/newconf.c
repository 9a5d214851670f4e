/*
 * newconf.c
 *		The configuration of the new server.
 *
 * The server itself tells which settings its files hold (pg_file_settings), so includes need no reading of ours. They
 * become one file, which initdb's postgresql.conf includes at its end. In a cluster of Debian's they are in
 * /etc/postgresql, at the end of postgresql.conf itself: pg_dropcluster knows no further file.
 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/pg/formats.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/upgrade/newconf.h"
#include "agent/upgrade/place.h"
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
	Text		system_lines;	/* of ALTER SYSTEM, where they do not belong into a file that all may read */
	int			carried;
	int			readers;		/* file mode: who may read all of the files that the settings are from */
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

/* Debian's tools name a server after its cluster: 15/main becomes 18/main. */
static const char *
value_there(const NewConf *conf, const char *name, const char *value)
{
	const PgInstance *old = conf->upgrade->old;
	const PgInstance *new = conf->upgrade->new;
	bool		is_cluster = config_is_elsewhere(old) && config_is_elsewhere(new) &&
		strcasecmp(name, "cluster_name") == 0 && strcmp(value, old->cluster) == 0;

	return is_cluster ? new->cluster : value;
}

/* What few could read is not for more of them behind it. */
static void
note_readers(NewConf *conf, const char *file)
{
	struct stat st;

	conf->readers &= stat(file, &st) == 0 ? (int) st.st_mode : 0600;
}

static void
add_setting(NewConf *conf, Text *lines, const char *name, const char *value)
{
	char	   *line = conf_rewrite("", &(ConfSetting) {name, value_there(conf, name, value)}, 1);

	text_add(lines, line, strlen(line));
	conf->carried++;
	free(line);
}

static int
read_settings(NewConf *conf, PGconn *conn, json_t *carry)
{
	/* the last line of a name counts; one that needs a restart has an error, and counts from the next start on */
	static const char sql[] =
		"SELECT name, setting, of_system, file FROM (SELECT f.name, f.setting, "
		"f.sourcefile LIKE '%/postgresql.auto.conf', f.sourcefile, "
		"pg_catalog.row_number() OVER (PARTITION BY pg_catalog.lower(f.name), "
		"f.sourcefile LIKE '%/postgresql.auto.conf' ORDER BY f.seqno DESC) FROM pg_catalog.pg_file_settings f "
		"WHERE f.name IS NOT NULL) x (name, setting, of_system, file, place) WHERE place = 1 "
		"ORDER BY of_system, name";
	PGresult   *res = pg_query_or_fail(conf->ctx, conn, sql, 0, NULL);

	for (int i = 0; res && i < PQntuples(res); i++)
	{
		const char *name = PQgetvalue(res, i, 0);
		bool		of_system = PQgetvalue(res, i, 2)[0] == 't';

		if (of_system && !param_names(carry, name))
			json_array_append_new(conf->left, json_string(name));
		else if (is_about_old(name) || !is_known(conf, name))
			json_array_append_new(conf->dropped, json_string(name));
		else if (of_system && config_is_elsewhere(conf->upgrade->new))
			add_setting(conf, &conf->system_lines, name, PQgetvalue(res, i, 1));
		else
		{
			add_setting(conf, &conf->lines, name, PQgetvalue(res, i, 1));
			note_readers(conf, PQgetvalue(res, i, 3));
		}
	}
	PQclear(res);
	return res ? 0 : -1;
}

/* In the data directory: initdb's file includes ours. */
static int
write_included(NewConf *conf, const char *base)
{
	char	   *main_file = data_path(conf->upgrade->new, "postgresql.conf");
	char	   *ours = data_path(conf->upgrade->new, CARRIED_FILE);
	char	   *all = xasprintf("%s\n# the settings of the server of version %d\ninclude '" CARRIED_FILE "'\n", base,
								conf->upgrade->from);
	int			rc = file_write_atomic(ours, conf->lines.data ? conf->lines.data : "", conf->lines.size, 0600, true);

	if (rc == 0)
		rc = file_write_atomic(main_file, all, strlen(all), 0600, true);
	free(all);
	free(ours);
	free(main_file);
	return rc;
}

/* As pg_createcluster has them: in files of all users, by which Debian's tools find the server. */
static char *
debian_settings(const PgInstance *pg)
{
	char	   *hba = config_path(pg, "pg_hba.conf");
	char	   *ident = config_path(pg, "pg_ident.conf");
	char	   *pid = xasprintf("/var/run/postgresql/%d-%s.pid", atoi(pg->cluster),
								strchr(pg->cluster, '/') ? strchr(pg->cluster, '/') + 1 : "main");
	ConfSetting settings[] = {
		{"data_directory", pg->data}, {"hba_file", hba}, {"ident_file", ident}, {"external_pid_file", pid}
	};
	char	   *text = conf_rewrite("", settings, sizeof(settings) / sizeof(settings[0]));

	free(pid);
	free(ident);
	free(hba);
	return text;
}

/* They stay settings of ALTER SYSTEM. */
static int
write_system(NewConf *conf)
{
	char	   *path = data_path(conf->upgrade->new, "postgresql.auto.conf");
	char	   *base = file_read(path, CONF_MAX, NULL);
	char	   *all = base ? xasprintf("%s%s", base, conf->system_lines.data ? conf->system_lines.data : "") : NULL;
	int			rc = all ? file_write_atomic(path, all, strlen(all), 0600, true) : -1;

	free(all);
	free(base);
	free(path);
	return rc;
}

/* The settings follow initdb's in one file, and what is put into conf.d comes last. */
static int
write_elsewhere(NewConf *conf, const char *base)
{
	char	   *path = config_path(conf->upgrade->new, "postgresql.conf");
	char	   *places = debian_settings(conf->upgrade->new);
	char	   *all = xasprintf("%s\n# where it is\n%s\n# the settings of the server of version %d\n%s\n"
								"include_dir 'conf.d'\n", base, places, conf->upgrade->from,
								conf->lines.data ? conf->lines.data : "");
	int			rc = file_write_atomic(path, all, strlen(all), conf->readers & 0644, true);

	if (rc == 0)
		rc = write_system(conf);
	free(all);
	free(places);
	free(path);
	return rc;
}

static int
write_settings(NewConf *conf)
{
	char	   *path = data_path(conf->upgrade->new, "postgresql.conf");
	char	   *base = file_read(path, CONF_MAX, NULL);
	int			rc = !base ? -1 : config_is_elsewhere(conf->upgrade->new) ? write_elsewhere(conf, base) :
		write_included(conf, base);

	if (rc < 0)
		action_fail(conf->ctx, STATE_IO_ERROR, "could not write the new configuration for \"%s\": %s",
					conf->upgrade->new->data, strerror(errno));
	free(base);
	free(path);
	return rc;
}

/* ---- files ---- */

/* `to` is taken over. */
static int
carry_file(NewConf *conf, const char *from, char *to)
{
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
	int			rc = from ? carry_file(conf, from, config_path(conf->upgrade->new, name)) :
		pg_fail(conf->ctx, conn, NULL, setting);

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
			rc = carry_file(conf, from, data_path(conf->upgrade->new, PQgetvalue(res, i, 0)));
		free(from);
	}
	PQclear(res);
	return rc;
}

/* Of initdb: where the configuration is elsewhere nobody may take these for it. */
static int
remove_unused(NewConf *conf)
{
	static const char *const names[] = {"postgresql.conf", "pg_hba.conf", "pg_ident.conf", NULL};
	int			rc = 0;

	for (int i = 0; config_is_elsewhere(conf->upgrade->new) && rc == 0 && names[i]; i++)
	{
		char	   *path = data_path(conf->upgrade->new, names[i]);

		if (unlink(path) < 0 && errno != ENOENT)
			rc = action_fail(conf->ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", path, strerror(errno));
		free(path);
	}
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
	char	   *folder = config_folder(conf->upgrade->new);
	char		there[1024] = "";
	int			rc = !here ? 0 : child_run_text((char *[]) {program, "-C", (char *) name, "-D", folder, NULL},
												ASK_TIMEOUT_MS, there, sizeof(there));

	there[strcspn(there, "\n")] = '\0';
	if (rc != 0)
		action_fail(conf->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "version %d does not take the configuration: %s",
					conf->upgrade->to, there);
	else if (here && strcmp(value_there(conf, name, here), there) != 0)
	{
		rc = action_fail(conf->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						 "the new server would have another \"%s\" than this one", name);
		action_hint(conf->ctx, "Set it in postgresql.conf, or name it in \"carry\" if ALTER SYSTEM has set it.");
	}
	free(folder);
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

/* ---- where pg_upgrade finds the configuration of its servers ---- */

static const char *const place_settings[] = {"config_file", "hba_file", "ident_file", NULL};

/* They go through two shells, and pg_upgrade quotes nothing. */
static bool
is_plain(const char *path)
{
	return !path[strcspn(path, " \t\n'\"\\$`;&|<>()*?[]#~!{}")];
}

/*
 * What the old server was started with, as far as it is about places. The rest of it pg_upgrade gives itself, or does
 * not need.
 */
char *
newconf_options_of_old(const Upgrade *upgrade)
{
	char	  **options = postmaster_options(upgrade->old->data);
	Text		text = {0};

	text_add(&text, "", 0);
	for (int i = 0; place_settings[i]; i++)
	{
		const char *value = postmaster_option(options, place_settings[i]);

		if (value)
			text_addf(&text, " -c %s=%s", place_settings[i], value);
	}
	text_free_list(options);
	return text.data;
}

/* Its file tells the other places. */
char *
newconf_options_of_new(const Upgrade *upgrade)
{
	char	   *file = config_path(upgrade->new, "postgresql.conf");
	char	   *options = xasprintf("%s%s", config_is_elsewhere(upgrade->new) ? " -c config_file=" : "",
									config_is_elsewhere(upgrade->new) ? file : "");

	free(file);
	return options;
}

/* With the old server down nothing else tells where its configuration is. */
static int
check_old_place(const Upgrade *upgrade, PGconn *conn)
{
	char	  **options = postmaster_options(upgrade->old->data);
	const char *given = postmaster_option(options, "config_file");
	char	   *plain = data_path(upgrade->old, "postgresql.conf");
	char	   *used = pg_value(conn, "SELECT pg_catalog.current_setting('config_file')");
	int			rc = 0;

	if (!used || strcmp(used, given ? given : plain) != 0)
		rc = action_fail(upgrade->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server was not told its configuration "
						 "file in a way that pg_upgrade could repeat: \"%s\"", used ? used : "(not known)");
	for (int i = 0; rc == 0 && place_settings[i]; i++)
	{
		const char *value = postmaster_option(options, place_settings[i]);

		if (value && !is_plain(value))
			rc = action_fail(upgrade->ctx, STATE_FEATURE_NOT_SUPPORTED, "pg_upgrade cannot be told a path with such "
							 "characters: \"%s\"", value);
	}
	free(used);
	free(plain);
	text_free_list(options);
	return rc;
}

static void
tell(NewConf *conf, json_t *result)
{
	json_object_set_new(result, "carried", json_integer(conf->carried));
	json_object_set_new(result, "dropped", conf->dropped);
	json_object_set_new(result, "left", conf->left);
	free(conf->system_lines.data);
	free(conf->lines.data);
	free(conf->known);
}

int
newconf_write(const Upgrade *upgrade, PGconn *conn, json_t *carry, json_t *result)
{
	NewConf		conf = {.upgrade = upgrade, .ctx = upgrade->ctx, .folder = upgrade->new->data,
	.readers = 0644, .dropped = json_array(), .left = json_array()};
	int			rc = upgrade->mode == UPGRADE_STANDBY ? 0 : check_old_place(upgrade, conn);

	if (rc < 0 || place_make(upgrade) < 0 || read_known(&conf) < 0)
		rc = -1;
	if (rc == 0 && (read_settings(&conf, conn, carry) < 0 || write_settings(&conf) < 0 ||
					carry_access(&conf, conn, "hba_file", "pg_hba.conf") < 0 ||
					carry_access(&conf, conn, "ident_file", "pg_ident.conf") < 0 ||
					carry_named_files(&conf, conn) < 0 || remove_unused(&conf) < 0 ||
					check_result(&conf, conn) < 0))
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
