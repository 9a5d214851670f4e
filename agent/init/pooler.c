/*
 * pooler.c
 *		What PgBouncer lacks: a file of the routed databases, which its own one includes.
 *
 * The lines of [databases] move to that file as they are. It is written before the main file lets go of them, so that
 * PgBouncer, if it is started in between, finds each database at least once.
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
#include "agent/init/place.h"
#include "agent/init/pooler.h"
#include "agent/init/say.h"
#include "agent/init/texts.h"
#include "agent/route/bouncerini.h"
#include "agent/route/console.h"

#define FILE_MAX (4 * 1024 * 1024)

static bool
is_section(const char *line, const char *name)
{
	size_t		len = strlen(name);

	line += strspn(line, " \t");
	return *line == '[' && strncmp(line + 1, name, len) == 0 && line[len + 1] == ']';
}

static bool
begins_section(const char *line)
{
	return line[strspn(line, " \t")] == '[';
}

static bool
is_include(const char *line)
{
	return strncmp(line + strspn(line, " \t"), "%include", 8) == 0;
}

/* The lines of [databases] go to `moved`, all else to `rest`; an %include stays where it is. */
static void
take_apart(const char *text, Text *moved, Text *rest)
{
	bool		inside = false;

	text_add(moved, "", 0);
	text_add(rest, "", 0);
	while (*text)
	{
		size_t		len = strcspn(text, "\n");

		len += text[len] == '\n';
		if (begins_section(text))
			inside = is_section(text, "databases");
		text_add(inside && !begins_section(text) && !is_include(text) ? moved : rest, text, len);
		text += len;
	}
}

static const InitPeer *
first_server(const InitOptions *options, int skip)
{
	for (int i = 0; i < options->n_peers; i++)
		if (options->peers[i].port && skip-- == 0)
			return &options->peers[i];
	return NULL;
}

/* Lines for the databases of routes that have none yet. */
static void
add_databases(Text *text, char *const *databases, const InitPeer *server)
{
	for (int i = 0; server && databases && databases[i]; i++)
	{
		char	   *name = xasprintf("%.*s", text_database_length(databases[i]), databases[i]);
		char	   *settings = text_database_settings(databases[i]);
		char	   *present = bouncer_entry(text->data, name);

		if (!present)
			text_addf(text, "%s = host=%s port=%d%s%s\n", name, server->host, server->port, *settings ? " " : "",
					  settings);
		free(present);
		free(settings);
		free(name);
	}
}

/* A list of the databases that the file lacks, as lines, malloc'd; "" if it has all. */
static char *
databases_text(const char *present, const InitOptions *options)
{
	Text		text = {0};
	const InitPeer *standby = first_server(options, 1);

	text_addf(&text, "%s", present);
	if (text.size && text.data[text.size - 1] != '\n')
		text_add(&text, "\n", 1);
	add_databases(&text, options->rw, first_server(options, 0));
	add_databases(&text, options->ro, standby ? standby : first_server(options, 0));
	return text.data;
}

static void
tell_reload(const InitHost *host)
{
	char	   *admin = xasprintf("host=%s port=%d user=pgbouncer dbname=pgbouncer", host->bouncer_socket,
								  host->bouncer_port);
	BouncerConfig bouncer = {.name = "main", .admin = admin, .file = host->bouncer_file};
	char		error[512];
	PGconn	   *conn;
	PGresult   *res;

	host_as_owner(host);
	conn = admin_connect(&bouncer, error, sizeof(error));
	host_as_self(host);
	res = conn ? admin_query(conn, "RELOAD", ADMIN_TIMEOUT_MS, error, sizeof(error)) : NULL;
	if (res)
		init_say(INIT_MADE, "PgBouncer has read its files again");
	else
		init_say(INIT_TODO, "tell PgBouncer to read its files again (its console says: %s)", error);
	PQclear(res);
	PQfinish(conn);
	free(admin);
}

/* The file and its folder are the agent's: it replaces them in each run. */
static int
write_databases(const InitHost *host, const char *text)
{
	char	   *copy = xstrdup(host->bouncer_file);
	int			rc = place_folder(host, dirname(copy), true, false);

	if (rc == 0 && file_exists(host->bouncer_file))
		rc = place_edit(host, host->bouncer_file, text);
	else if (rc == 0)
		rc = place_file(host, host->bouncer_file, text, PLACE_SECRET, false, false);
	free(copy);
	return rc;
}

static int
write_main(const InitHost *host, const char *rest)
{
	size_t		size = strlen(rest);
	char	   *text = xasprintf("%s%s%%include %s\n", rest, size && rest[size - 1] != '\n' ? "\n" : "",
								 host->bouncer_file);
	int			rc = place_edit(host, host->bouncer_ini, text);

	if (rc == 0)
		init_say(INIT_MADE, "%s includes it (a copy: .before-init)", host->bouncer_ini);
	free(text);
	return rc;
}

/* Without the comments and examples that move with them. */
static void
tell_entries(const char *text)
{
	while (*text)
	{
		size_t		len = strcspn(text, "\n");

		if (len > 0 && text[0] != ';' && text[0] != '#')
			init_more("%.*s", (int) len, text);
		text += len + (text[len] == '\n');
	}
}

static int
make(const InitHost *host, const InitOptions *options, const char *databases, bool included, const char *rest)
{
	int			rc;

	if (options->dry_run || !options->apply || host->bouncer_of_other)
	{
		if (host->bouncer_of_other)
			init_say(INIT_TODO, "PgBouncer runs as another user than the agent: this is left to you (both must "
					 "read the file, and the agent replace it)");
		init_say(options->dry_run ? INIT_WOULD : INIT_TODO, "%s with the databases that runs point elsewhere:",
				 host->bouncer_file);
		tell_entries(databases);
		if (!included)
			init_more("and in place of [databases] in %s: %%include %s", host->bouncer_ini, host->bouncer_file);
		return 0;
	}
	rc = write_databases(host, databases);
	if (rc == 0 && !included)
		rc = write_main(host, rest);
	if (rc == 0)
		tell_reload(host);
	return rc;
}

int
pooler_set_up(const InitHost *host, const InitOptions *options)
{
	char	   *main_text = file_read(host->bouncer_ini, FILE_MAX, NULL);
	char	   *file_text = file_read(host->bouncer_file, FILE_MAX, NULL);
	bool		included = main_text && strstr(main_text, host->bouncer_file);
	Text		moved = {0};
	Text		rest = {0};
	char	   *databases;
	int			rc = 0;

	take_apart(main_text ? main_text : "", &moved, &rest);
	if (!file_text)
		file_text = xasprintf("[databases]\n%s", included ? "" : moved.data);
	databases = databases_text(file_text, options);
	if (included && strcmp(databases, file_text) == 0 && file_exists(host->bouncer_file))
		init_say(INIT_OK, "%s, which %s includes", host->bouncer_file, host->bouncer_ini);
	else
		rc = make(host, options, databases, included, rest.data);
	free(databases);
	free(moved.data);
	free(rest.data);
	free(file_text);
	free(main_text);
	return rc;
}
