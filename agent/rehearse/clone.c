/*
 * clone.c
 *		A copy of the main server that nobody else can reach, and that reaches nobody.
 *
 * Its sockets are in a folder that is closed to others. It archives nothing, follows nobody, applies nothing that is
 * published. It runs one background worker, that of this extension: a job scheduler would do its jobs a second time.
 * That worker would go on with the run that the copy holds, at the agents that it knows, so it is not there either
 * until the copy's tables know no agent but that of the rehearsal.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/conninfo.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/formats.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/stop.h"
#include "agent/rehearse/clone.h"
#include "agent/rejoin/tool.h"
#include "agent/upgrade/contents.h"
#include "agent/upgrade/folder.h"
#include "common/sqlstate.h"

#define CONF_MAX (1024 * 1024)
#define QUERY_TIMEOUT_MS 60000
#define READY_TIMEOUT_MS 3600000	/* what was written while it was copied is recovered */
#define STOP_TIMEOUT_MS 600000
#define GONE_MS 20000
#define ROOM_BYTES (512LL << 20)	/* besides the databases: WAL, the new catalogs */
#define VISITS_MS 60000			/* for all databases */
#define MODULE "pg_pingpong"

/* ---- the copy ---- */

static int
check_room(Rehearsal *rehearsal, PGconn *conn, json_t *result)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	char	   *size = pg_value(conn, "SELECT sum(pg_catalog.pg_database_size(oid))::bigint "
								"FROM pg_catalog.pg_database");
	long long	bytes = size ? strtoll(size, NULL, 10) : -1;
	long long	needed = ROOM_BYTES + bytes * (upgrade_shares_files(&rehearsal->upgrade) ? 1 : 2);
	struct statvfs disk;
	long long	room = statvfs(rehearsal->folder, &disk) < 0 ? -1 :
		(long long) disk.f_bavail * (long long) disk.f_frsize;

	free(size);
	if (bytes < 0 || room < 0)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "it is not known whether there is room for a rehearsal in \"%s\"", rehearsal->folder);
	json_object_set_new(result, "bytes", json_integer(bytes));
	if (room >= needed)
		return 0;
	action_fail(ctx, STATE_DISK_FULL, "the disk of \"%s\" is too small for a rehearsal", rehearsal->folder);
	action_detail(ctx, "It needs %lld MB, %lld MB are free.", needed >> 20, room >> 20);
	return -1;
}

static int
name_space(Rehearsal *rehearsal, const char *oid, const char *location, char ***argv)
{
	char	   *space = xasprintf("%s/spaces/%s", rehearsal->folder, oid);
	int			rc = make_directory(space, 0700);

	if (rc == 0)
		text_append(argv, xasprintf("--tablespace-mapping=%s=%s", location, space));
	else
		action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not make \"%s\": %s", space, strerror(errno));
	free(space);
	return rc;
}

/* Where the tablespaces of the copy are to be. `n`: how many there are. */
static int
name_spaces(Rehearsal *rehearsal, PGconn *conn, char ***argv, int *n)
{
	static const char sql[] = "SELECT oid, place FROM pg_catalog.pg_tablespace, "
		"pg_catalog.pg_tablespace_location(oid) l (place) WHERE place LIKE '/%'";
	PGresult   *res = pg_query_or_fail(rehearsal->upgrade.ctx, conn, sql, 0, NULL);
	int			rc = res ? 0 : -1;

	*n = res ? PQntuples(res) : 0;
	for (int i = 0; rc == 0 && i < *n; i++)
		rc = name_space(rehearsal, PQgetvalue(res, i, 0), PQgetvalue(res, i, 1), argv);
	PQclear(res);
	return rc;
}

typedef struct Copying
{
	Rehearsal  *rehearsal;
	ToolProgress progress;
} Copying;

static void
show_progress(void *argument, const char *data, size_t size)
{
	tool_progress(&((Copying *) argument)->progress, data, size);
}

static const char *
stop_when_full(void *argument)
{
	return rehearsal_spares(((Copying *) argument)->rehearsal);
}

/* Checkpoints are spread: it is no hurry. The password of a standby comes by the environment. */
static int
copy(Rehearsal *rehearsal, char *conninfo, const char *password, char *const *spaces)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	Copying		copying = {rehearsal, {ctx, "copying the server", clock_monotonic_ms()}};
	ChildOptions options = {.directory = rehearsal->folder, .on_output = show_progress, .stop = stop_when_full,
	.argument = &copying, .password = password};
	char	  **argv = NULL;
	int			rc;

	if (remove_tree(rehearsal->old.data) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", rehearsal->old.data, strerror(errno));
	text_append(&argv, bin_path(&rehearsal->old, "pg_basebackup"));
	text_append(&argv, xasprintf("--pgdata=%s", rehearsal->old.data));
	text_append(&argv, xasprintf("--dbname=%s", conninfo));
	for (int i = 0; spaces && spaces[i]; i++)
		text_append(&argv, xstrdup(spaces[i]));
	text_append(&argv, xstrdup("--wal-method=stream"));
	text_append(&argv, xstrdup("--no-sync"));
	text_append(&argv, xstrdup("--no-password"));
	text_append(&argv, xstrdup("--progress"));
	if (rehearsal->upgrade.old->max_rate)
		text_append(&argv, xasprintf("--max-rate=%s", rehearsal->upgrade.old->max_rate));
	action_progress(ctx, 0, "copying the server");
	rc = child_run_or_fail(ctx, argv, &options);
	text_free_list(argv);
	return rc;
}

/* So the primary has no work with it. */
static int
copy_standby(Rehearsal *rehearsal, json_t *from)
{
	const PgInstance *pg = rehearsal->upgrade.old;
	char		port[16];
	char	   *password = conninfo_get(pg->replication, "password");
	char	   *bare = conninfo_without(pg->replication, "password");
	char	   *conninfo;
	int			rc;

	snprintf(port, sizeof(port), "%d", (int) param_int(from, "port", 0));
	conninfo = conninfo_merge(bare, NULL, param_string(from, "host", ""), port, "pingpong-agent");
	rc = copy(rehearsal, conninfo, password, NULL);
	free(conninfo);
	free(bare);
	free(password);
	return rc;
}

static int
copy_here(Rehearsal *rehearsal, char *const *spaces)
{
	const PgInstance *pg = rehearsal->upgrade.old;
	char		port[16];
	char	   *user = xasprintf("user=%s application_name=pingpong-agent", pg->superuser);
	char	   *conninfo;
	int			rc;

	snprintf(port, sizeof(port), "%d", pg->port);
	conninfo = conninfo_merge(user, NULL, pg->socket, port, NULL);
	rc = copy(rehearsal, conninfo, NULL, spaces);
	free(conninfo);
	free(user);
	return rc;
}

/* Where a standby has its tablespaces this host does not know. */
static int
copy_from(Rehearsal *rehearsal, json_t *from, PGconn *conn, json_t *result)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	char	  **spaces = NULL;
	int			n;
	int			rc = name_spaces(rehearsal, conn, &spaces, &n);

	if (rc == 0 && n == 0 && json_is_object(from) && copy_standby(rehearsal, from) == 0)
		json_object_set(result, "from", json_object_get(from, "name"));
	else if (rc == 0 && !rehearsal->full && !action_cancelled(ctx))
	{
		action_forget_error(ctx);
		rc = copy_here(rehearsal, spaces);
		json_object_set_new(result, "from", json_string(ctx->config->node));
	}
	else
		rc = -1;
	text_free_list(spaces);
	return rc;
}

/* What preflight compares with the databases of later; one that cannot be visited is left out. */
static void
count_relations(Rehearsal *rehearsal, PGconn *conn, json_t *result)
{
	json_t	   *contents = contents_look(rehearsal->upgrade.old, conn, clock_monotonic_ms() + VISITS_MS);
	json_t	   *counts = json_object();
	json_t	   *row;
	size_t		i;

	json_array_foreach(json_object_get(contents, "rows"), i, row)
	{
		json_t	   *n = json_object_get(json_object_get(row, "objects"), "relations");

		if (n)
			json_object_set(counts, json_string_value(json_object_get(row, "database")), n);
	}
	json_object_set_new(result, "databases", counts);
	json_decref(contents);
}

/* ---- its configuration ---- */

/* What would lead out of the folder, and what is too large beside the real server. Nothing of it is carried. */
static const ConfSetting closed[] = {
	{"listen_addresses", ""}, {"unix_socket_permissions", "0700"}, {"unix_socket_group", ""}, {"ssl", "off"},
	{"bonjour", "off"}, {"external_pid_file", ""},
	{"archive_mode", "off"}, {"archive_command", ""}, {"archive_cleanup_command", ""}, {"restore_command", ""},
	{"recovery_end_command", ""}, {"primary_conninfo", ""}, {"primary_slot_name", ""},
	{"synchronous_standby_names", ""}, {"default_transaction_read_only", "off"},
	{"max_logical_replication_workers", "0"},
	{"logging_collector", "off"}, {"log_destination", "stderr"},
	{"pingpong.agent_cert_file", ""}, {"pingpong.agent_key_file", ""}, {"pingpong.agent_ca_file", ""},
	{"shared_buffers", "128MB"}, {"huge_pages", "off"}
};
#define N_CLOSED (sizeof(closed) / sizeof(closed[0]))
#define N_OWN 5					/* those with a value of this rehearsal */

/* What the clone has in its own folder, whatever ALTER SYSTEM says. */
static const char *const own_files[] = {"hba_file", "ident_file"};
#define N_FILES (sizeof(own_files) / sizeof(own_files[0]))

/* With our module first it has the only worker: those of other modules are not registered. */
static char *
libraries(PGconn *conn)
{
	static const char sql[] =
		"SELECT '" MODULE "' || coalesce(pg_catalog.string_agg(', \"' || l || '\"', '' ORDER BY n), '') "
		"FROM pg_catalog.regexp_split_to_table(pg_catalog.current_setting('shared_preload_libraries'), '[\", ]+') "
		"WITH ORDINALITY x (l, n) WHERE l NOT IN ('', '" MODULE "', '$libdir/" MODULE "')";

	return pg_value(conn, sql);
}

/* The settings of the main server's files but those of ALTER SYSTEM, as one text. */
static char *
carried(Rehearsal *rehearsal, PGconn *conn)
{
	static const char sql[] =
		"SELECT DISTINCT ON (pg_catalog.lower(name)) name, setting FROM pg_catalog.pg_file_settings "
		"WHERE name IS NOT NULL AND sourcefile NOT LIKE '%/postgresql.auto.conf' AND pg_catalog.lower(name) NOT IN "
		"('data_directory', 'config_file', 'hba_file', 'ident_file', 'external_pid_file') "
		"ORDER BY pg_catalog.lower(name), seqno DESC";
	PGresult   *res = pg_query_or_fail(rehearsal->upgrade.ctx, conn, sql, 0, NULL);
	char	   *text = res ? xstrdup("") : NULL;

	for (int i = 0; res && i < PQntuples(res); i++)
	{
		char	   *longer = conf_rewrite(text, &(ConfSetting) {PQgetvalue(res, i, 0), PQgetvalue(res, i, 1)}, 1);

		free(text);
		text = longer;
	}
	PQclear(res);
	return text;
}

static int
write_text(Rehearsal *rehearsal, const char *name, const char *text)
{
	char	   *path = data_path(&rehearsal->old, name);
	int			rc = file_write_atomic(path, text, strlen(text), 0600, false);

	if (rc < 0)
		action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(path);
	return rc;
}

/* What ALTER SYSTEM has set on the main server, without what the clone has otherwise: it would win. */
static int
write_system(Rehearsal *rehearsal, const ConfSetting *settings, int n)
{
	char	   *path = data_path(rehearsal->upgrade.old, "postgresql.auto.conf");
	char	   *text = file_read(path, CONF_MAX, NULL);
	ConfSetting *none = xalloc(sizeof(ConfSetting) * (n + N_FILES));
	char	   *rest;
	int			rc;

	for (int i = 0; i < n; i++)
		none[i] = (ConfSetting) {settings[i].name, NULL};
	for (size_t i = 0; i < N_FILES; i++)
		none[n + i] = (ConfSetting) {own_files[i], NULL};
	rest = conf_rewrite(text ? text : "", none, n + N_FILES);
	rc = write_text(rehearsal, "postgresql.auto.conf", rest);
	free(rest);
	free(none);
	free(text);
	free(path);
	return rc;
}

static int
write_all(Rehearsal *rehearsal, const char *base, const char *preload, const char *workers)
{
	char	   *token = rehearsal_path(rehearsal, "token");
	ConfSetting settings[N_CLOSED + N_OWN];
	char		port[16];
	char	   *text;
	int			rc;

	snprintf(port, sizeof(port), "%d", rehearsal->old.port);
	memcpy(settings, closed, sizeof(closed));
	settings[N_CLOSED] = (ConfSetting) {"unix_socket_directories", rehearsal->folder};
	settings[N_CLOSED + 1] = (ConfSetting) {"pingpong.agent_token_file", token};
	settings[N_CLOSED + 2] = (ConfSetting) {"shared_preload_libraries", preload};
	settings[N_CLOSED + 3] = (ConfSetting) {"max_worker_processes", workers};
	settings[N_CLOSED + 4] = (ConfSetting) {"port", port};	/* the command line may have given it */
	text = conf_rewrite(base, settings, N_CLOSED + N_OWN);
	rc = write_text(rehearsal, "postgresql.conf", text) < 0 ||
		write_system(rehearsal, settings, N_CLOSED + N_OWN) < 0 ||
		write_text(rehearsal, "pg_hba.conf", "local all all trust\n") < 0 ||	/* its folder is closed to others */
		write_text(rehearsal, "pg_ident.conf", "") < 0 ? -1 : 0;
	free(text);
	free(token);
	return rc;
}

/* What makes a standby of it, and what is of the life of the server that was copied. */
static int
forget_life(Rehearsal *rehearsal)
{
	DIR		   *dir = opendir(rehearsal->old.data);
	struct dirent *entry;
	int			rc = dir ? 0 : -1;

	while (rc == 0 && (entry = readdir(dir)))
		if (strncmp(entry->d_name, "pingpong.", 9) == 0 || strcmp(entry->d_name, "standby.signal") == 0 ||
			strcmp(entry->d_name, "recovery.signal") == 0)
		{
			char	   *path = data_path(&rehearsal->old, entry->d_name);

			rc = remove_tree(path);
			free(path);
		}
	if (rc < 0)
		action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not clear \"%s\": %s", rehearsal->old.data,
					strerror(errno));
	if (dir)
		closedir(dir);
	return rc;
}

/* WAL and tablespaces of the copy are in the folder, too: what lies elsewhere is somebody's. */
static int
check_links(Rehearsal *rehearsal)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	char	   *folder = realpath(rehearsal->folder, NULL);
	Layout		layout;
	int			rc = layout_read(ctx, rehearsal->old.data, &layout);

	for (int i = 0; rc == 0 && i < layout.n_parts; i++)
	{
		char	   *place = realpath(layout.parts[i].path, NULL);

		if (!folder || !place || !folder_is_inside(place, folder))
			rc = action_fail(ctx, STATE_INTERNAL_ERROR, "\"%s\" of the copy leads to \"%s\"", layout.parts[i].link,
							 layout.parts[i].path);
		free(place);
	}
	layout_free(&layout);
	free(folder);
	return rc;
}

/* ---- its tables ---- */

/* pingpong_internal.become_rehearsal() refuses where it is not alone. */
static int
close_tables(Rehearsal *rehearsal, PGconn *first)
{
	ActionContext on = rehearsal_on(rehearsal, &rehearsal->old);
	char	   *database = pg_pingpong_database(first);
	PGconn	   *conn = database ? pg_local_or_fail(&on, database, QUERY_TIMEOUT_MS) : NULL;
	char	   *url = xasprintf("unix:%s/agent.sock", rehearsal->folder);
	char		port[16];
	const char *values[] = {rehearsal->folder, port, url};
	PGresult   *res = NULL;

	snprintf(port, sizeof(port), "%d", rehearsal->old.port);
	if (conn)
		res = pg_query_or_fail(&on, conn, "SELECT pingpong_internal.become_rehearsal($1, $2::integer, $3)", 3,
							   values);
	else if (!database)
		pg_fail(&on, first, NULL, "pingpong.database");
	PQclear(res);
	PQfinish(conn);
	free(url);
	free(database);
	return res ? 0 : -1;
}

static int
run_alone(Rehearsal *rehearsal)
{
	ActionContext on = rehearsal_on(rehearsal, &rehearsal->old);
	PGconn	   *conn;
	int			rc;

	action_progress(rehearsal->upgrade.ctx, -1, "starting the clone");
	conn = control_start(&on) < 0 ? NULL : control_wait_ready(&on, clock_monotonic_ms() + READY_TIMEOUT_MS);
	rc = conn ? close_tables(rehearsal, conn) : -1;
	PQfinish(conn);
	if (rc == 0 && (control_stop(&on, false, STOP_TIMEOUT_MS) < 0 ||
					server_await_remains(&on, clock_monotonic_ms() + GONE_MS) < 0))
		rc = -1;
	return rc;
}

static int
configure(Rehearsal *rehearsal, PGconn *conn)
{
	char	   *base = carried(rehearsal, conn);
	char	   *preload = base ? libraries(conn) : NULL;
	int			rc = preload ? 0 : pg_fail(rehearsal->upgrade.ctx, conn, NULL, "the settings of the server");

	if (rc == 0 && (check_links(rehearsal) < 0 || forget_life(rehearsal) < 0 ||
					write_all(rehearsal, base, preload, "0") < 0 || run_alone(rehearsal) < 0 ||
					write_all(rehearsal, base, preload, "1") < 0))
		rc = -1;
	free(preload);
	free(base);
	return rc;
}

int
clone_make(Rehearsal *rehearsal, json_t *from, json_t *result)
{
	PGconn	   *conn = pg_local_or_fail(rehearsal->upgrade.ctx, NULL, QUERY_TIMEOUT_MS);
	int			rc = conn ? 0 : -1;

	if (rc == 0)
		count_relations(rehearsal, conn, result);
	if (rc == 0 && (check_room(rehearsal, conn, result) < 0 || copy_from(rehearsal, from, conn, result) < 0))
		rc = -1;
	PQfinish(conn);				/* the copy may have taken hours */
	conn = rc == 0 ? pg_local_or_fail(rehearsal->upgrade.ctx, NULL, QUERY_TIMEOUT_MS) : NULL;
	if (!conn || configure(rehearsal, conn) < 0)
		rc = -1;
	PQfinish(conn);
	return rc;
}
