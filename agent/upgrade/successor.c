/*
 * successor.c
 *		What the host has for the new server. Nothing is changed; a probe that has to write removes what it wrote.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/facts/error.h"
#include "agent/job/child.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/upgrade/folder.h"
#include "agent/upgrade/newconf.h"
#include "agent/upgrade/place.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/snapshot.h"
#include "agent/upgrade/spaces.h"
#include "agent/upgrade/successor.h"
#include "agent/upgrade/suits.h"

#define ASK_TIMEOUT_MS 5000
#define CONTROL_MAX (64 * 1024)

json_t *
successor_verdict(ActionContext *ctx, int rc)
{
	json_t	   *answer = json_pack("{s:b}", "ok", rc == 0);

	if (rc != 0)
		json_object_set_new(answer, "problem", json_string(action_error_message(ctx)));
	action_forget_error(ctx);
	return answer;
}

/* The first line that a program of the new major prints, malloc'd; NULL: it failed. */
static char *
first_line(const Upgrade *upgrade, const char *name, const char *option)
{
	char	   *program = bin_path(upgrade->new, name);
	char	   *text = xalloc(1024);
	int			rc = child_run_text((char *[]) {program, (char *) option, NULL}, ASK_TIMEOUT_MS, text, 1024);

	free(program);
	text[strcspn(text, "\n")] = '\0';
	if (rc == 0 && text[0])
		return text;
	free(text);
	return NULL;
}

/* "postgres (PostgreSQL) 18.6 (Debian 18.6-3)" has 18.6 */
static json_t *
version_of(const Upgrade *upgrade)
{
	char	   *line = first_line(upgrade, "postgres", "--version");
	char	   *version = line ? strstr(line, ") ") : NULL;
	json_t	   *answer = json_null();

	if (version)
	{
		version += 2;
		version[strcspn(version, " ")] = '\0';
		answer = json_string(version);
	}
	free(line);
	return answer;
}

/* ---- folders ---- */

/* "filled" stands against it. What an earlier run has prepared there is removed by the next one. */
static const char *
state_of_folder(const Upgrade *upgrade)
{
	const char *path = upgrade->new->data;
	UpgradeRecord record;

	if (postmaster_pid(path) != 0)
		return "running";
	if (folder_is_empty(path))
		return file_exists(path) ? "empty" : "missing";
	if (record_open(upgrade->ctx, &record) == 0 && record.state == RECORD_PREPARED &&
		strcmp(record.new_data, path) == 0)
		return "leftover";
	action_forget_error(upgrade->ctx);
	return "filled";
}

/* ---- sockets ---- */

/* Does somebody listen there? A file that is left of a dead server does not. */
static bool
is_listened_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int			rc;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	rc = connect(fd, (struct sockaddr *) &address, sizeof(address));
	rc = rc == 0 || errno == EAGAIN || errno == EACCES ? 0 : -1;
	if (fd >= 0)
		close(fd);
	return rc == 0;
}

static json_t *
sockets_of(const Upgrade *upgrade)
{
	static const int ports[] = {UPGRADE_PORT_OF_OLD, UPGRADE_PORT_OF_NEW};
	json_t	   *busy = json_array();
	size_t		length = 0;

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
	{
		char	   *path = xasprintf("%s/.s.PGSQL.%d", upgrade->new->socket, ports[i]);

		length = strlen(path);
		if (length < sizeof(((struct sockaddr_un *) NULL)->sun_path) && is_listened_to(path))
			json_array_append_new(busy, json_integer(ports[i]));
		free(path);
	}
	return json_pack("{s:s, s:i, s:i, s:o}", "folder", upgrade->new->socket, "length", (int) length,
					 "limit", (int) sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1, "busy", busy);
}

/* ---- configuration ---- */

static json_t *
settings_of(const Upgrade *upgrade, PGconn *conn)
{
	json_t	   *answer = json_object();

	if (newconf_look(upgrade, conn, answer) < 0)
	{
		json_decref(answer);
		answer = facts_error("%s", action_error_message(upgrade->ctx));
	}
	action_forget_error(upgrade->ctx);
	return answer;
}

/* Files that settings name, and that the new server must read; those of TLS only where it is on. */
static json_t *
files_of(const Upgrade *upgrade, PGconn *conn)
{
	static const char sql[] =
		"SELECT name, setting FROM pg_catalog.pg_settings WHERE name LIKE '%\\_file' AND vartype = 'string' "
		"AND setting <> '' AND name NOT IN ('config_file', 'external_pid_file', 'promote_trigger_file') "
		"AND name NOT LIKE 'pingpong.%' "
		"AND (name NOT LIKE 'ssl\\_%' OR pg_catalog.current_setting('ssl')::boolean) ORDER BY name";
	char		error[512];
	PGresult   *res = pg_query(conn, error, sizeof(error), sql, 0, NULL);
	json_t	   *rows = json_array();

	if (!res)
	{
		json_decref(rows);
		return facts_error("%s", error);
	}
	for (int i = 0; i < PQntuples(res); i++)
	{
		const char *file = PQgetvalue(res, i, 1);
		char	   *path = file[0] == '/' ? xstrdup(file) : data_path(upgrade->old, file);

		if (access(path, R_OK) < 0)
			json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "name", PQgetvalue(res, i, 0), "file", path,
												  "problem", strerror(errno)));
		free(path);
	}
	PQclear(res);
	return json_pack("{s:o}", "rows", rows);
}

static json_t *
snapshot_of(const Upgrade *upgrade)
{
	json_t	   *answer = successor_verdict(upgrade->ctx, upgrade_snapshot_check(upgrade));

	if (upgrade->old->snapshot)
		json_object_set_new(answer, "driver", json_string(upgrade->old->snapshot[0]));
	return answer;
}

void
successor_look(const Upgrade *upgrade, PGconn *conn, json_t *facts)
{
	ActionContext *ctx = upgrade->ctx;

	json_object_set_new(facts, "programs", successor_verdict(ctx, upgrade_programs(upgrade)));
	json_object_set_new(facts, "version", version_of(upgrade));
	json_object_set_new(facts, "folder", json_pack("{s:s, s:s}", "path", upgrade->new->data, "state",
												   state_of_folder(upgrade)));
	json_object_set_new(facts, "place", successor_verdict(ctx, place_check(upgrade)));
	json_object_set_new(facts, "room", upgrade_room(upgrade, conn));
	json_object_set_new(facts, "spaces", spaces_look(upgrade, conn));
	if (upgrade_shares_files(upgrade))
		json_object_set_new(facts, "links", successor_verdict(ctx, upgrade_links(upgrade)));
	if (upgrade_takes_files(upgrade))
		json_object_set_new(facts, "snapshot", snapshot_of(upgrade));
	json_object_set_new(facts, "socket", sockets_of(upgrade));
	json_object_set_new(facts, "settings", settings_of(upgrade, conn));
	json_object_set_new(facts, "files", files_of(upgrade, conn));
}

/* ---- what the new installation offers ---- */

/* The value of default_version in a control file: a string; "" without one. */
static json_t *
default_version(const char *text)
{
	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
	{
		const char *begin = line + strspn(line, " \t");
		size_t		length;

		if (strncmp(begin, "default_version", strlen("default_version")) != 0)
			continue;
		begin += strlen("default_version");
		begin += strspn(begin, " \t='");
		length = strcspn(begin, "' \t\n");
		return json_stringn(begin, length);
	}
	return json_string("");
}

static json_t *
available(const char *share, const char *extension)
{
	char	   *path = xasprintf("%s/extension/%s.control", share, extension);
	char	   *text = file_read(path, CONTROL_MAX, NULL);
	json_t	   *answer = text ? default_version(text) : json_null();

	free(text);
	free(path);
	return answer;
}

static json_t *
offered_extensions(const Upgrade *upgrade, json_t *databases)
{
	char	   *share = first_line(upgrade, "pg_config", "--sharedir");
	json_t	   *answer = json_object();
	json_t	   *one;
	json_t	   *version;
	const char *name;
	size_t		i;

	if (!share)
	{
		json_decref(answer);
		return facts_error("\"pg_config\" of version %d does not tell its folders", upgrade->to);
	}
	json_array_foreach(json_object_get(databases, "rows"), i, one)
		json_object_foreach(json_object_get(one, "extensions"), name, version)
			if (json_is_string(version) && !json_object_get(answer, name) && !json_object_get(one, "error"))
				json_object_set_new(answer, name, available(share, name));
	free(share);
	return json_pack("{s:o}", "rows", answer);
}

static bool
is_library(const char *libdir, const char *name)
{
	bool		of_system = strncmp(name, "$libdir", strlen("$libdir")) == 0;
	char	   *path = xasprintf("%s%s", of_system ? libdir : "", of_system ? name + strlen("$libdir") : name);
	char	   *with_suffix = xasprintf("%s.so", path);
	bool		found = access(path, R_OK) == 0 || access(with_suffix, R_OK) == 0;

	free(with_suffix);
	free(path);
	return found;
}

/* A name without a folder is looked for in those of dynamic_library_path. */
static bool
has_library(const char *libdir, char *const *folders, const char *name)
{
	bool		found = strchr(name, '/') && is_library(libdir, name);

	for (int i = 0; !strchr(name, '/') && !found && folders && folders[i]; i++)
	{
		char	   *path = xasprintf("%s/%s", folders[i], name);

		found = is_library(libdir, path);
		free(path);
	}
	return found;
}

/* Those of functions in C, and those that the server is started with. */
static json_t *
needed_libraries(PGconn *conn, json_t *databases)
{
	char	   *preload = pg_value(conn, "SELECT pg_catalog.replace(pg_catalog.current_setting("
								   "'shared_preload_libraries'), '\"', '')");
	char	  **preloaded = text_split_list(preload ? preload : "", ',');
	json_t	   *names = json_array();
	json_t	   *one;
	size_t		i;

	json_array_foreach(json_object_get(databases, "rows"), i, one)
		json_array_extend(names, json_object_get(one, "libraries"));
	for (int k = 0; preloaded && preloaded[k]; k++)
		json_array_append_new(names, json_string(preloaded[k]));
	text_free_list(preloaded);
	free(preload);
	return names;
}

static json_t *
offered_libraries(const Upgrade *upgrade, PGconn *conn, json_t *databases)
{
	char	   *libdir = first_line(upgrade, "pg_config", "--pkglibdir");
	char	   *path = pg_value(conn, "SELECT pg_catalog.current_setting('dynamic_library_path')");
	char	  **folders = text_split_list(path ? path : "$libdir", ':');
	json_t	   *names = needed_libraries(conn, databases);
	json_t	   *rows = json_object();
	json_t	   *name;
	size_t		i;

	json_array_foreach(names, i, name)
		json_object_set_new(rows, json_string_value(name),
							json_boolean(libdir && has_library(libdir, folders, json_string_value(name))));
	name = libdir ? json_pack("{s:s, s:O}", "folder", libdir, "rows", rows) :
		facts_error("\"pg_config\" of version %d does not tell its folders", upgrade->to);
	json_decref(rows);
	json_decref(names);
	text_free_list(folders);
	free(path);
	free(libdir);
	return name;
}

void
successor_offers(const Upgrade *upgrade, PGconn *conn, json_t *databases, json_t *facts)
{
	json_object_set_new(facts, "available", offered_extensions(upgrade, databases));
	json_object_set_new(facts, "libraries", offered_libraries(upgrade, conn, databases));
}
