/*
 * texts.c
 *		What init writes or shows, as text: agent.ini, the lines of pg_hba.conf, the SQL that registers all nodes.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/init/site.h"
#include "agent/init/texts.h"
#include "agent/pg/formats.h"

/* ---- agent.ini ---- */

static void
add_control(Text *text, const PgInstance *pg)
{
	text_addf(text, "control = %s\n", config_control_name(pg->control));
	if (pg->control == PG_CONTROL_SYSTEMCTL)
		text_addf(text, "unit = %s\n", pg->unit);
	if (pg->control == PG_CONTROL_PG_CTLCLUSTER)
		text_addf(text, "cluster = %s\n", pg->cluster);
}

static void
add_postgresql(Text *text, const PgInstance *pg, const InitOptions *options)
{
	text_addf(text, "\n[postgresql]\ndata = %s\nbin = %s\nsocket = %s\nport = %d\n", pg->data, pg->bin, pg->socket,
			  pg->port);
	if (strcmp(pg->superuser, "postgres") != 0)
		text_addf(text, "superuser = %s\n", pg->superuser);
	add_control(text, pg);
	text_addf(text, "replication = user=" REPLICATION_ROLE " passfile=%s/pgpass\n", options->dir);
	text_addf(text, "rewind = user=" REWIND_ROLE " passfile=%s/pgpass dbname=postgres\n", options->dir);
}

char *
text_agent_ini(const InitHost *host, const InitOptions *options, bool tls)
{
	Text		text = {0};

	text_addf(&text, "; pingpong-agent, made by pingpong-agent init; all options: pingpong-agent.ini.sample\n"
			  "[agent]\nnode = %s\nlisten = %s:%d\ntoken_file = %s/token\nstate_dir = %s\n", options->node,
			  tls ? "0.0.0.0" : "127.0.0.1", options->agent_port, options->dir, options->state_dir);
	if (tls)
		text_addf(&text, "tls_cert = %s/server.crt\ntls_key = %s/server.key\n", options->dir, options->dir);
	if (host->pg)
		add_postgresql(&text, host->pg, options);
	if (host->bouncer_ini)
		text_addf(&text, "\n[pgbouncer.main]\nadmin = host=%s port=%d user=pgbouncer dbname=pgbouncer\nfile = %s\n",
				  host->bouncer_socket, host->bouncer_port, host->bouncer_file);
	return text.data;
}

/* ---- pg_hba.conf ---- */

/* Debian's /etc/hosts has the host's own name at 127.0.1.1: the others do not see it there. */
static bool
is_loopback(const char *address)
{
	return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

/* False: it has no address that is known here. */
static bool
add_hba_of(char ***lines, const char *host)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	bool		known = false;

	if (getaddrinfo(host, NULL, &hints, &all) != 0)
		return false;
	for (struct addrinfo *one = all; one; one = one->ai_next)
	{
		char		address[NI_MAXHOST];
		int			bits = one->ai_family == AF_INET ? 32 : 128;

		if (getnameinfo(one->ai_addr, one->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST) != 0)
			continue;
		if (strchr(address, '%') || (is_loopback(address) && strcmp(address, host) != 0))
			continue;			/* of one wire only, or of this host only */
		known = true;
		text_append(lines, xasprintf("host replication " REPLICATION_ROLE " %s/%d scram-sha-256", address, bits));
		text_append(lines, xasprintf("host postgres " REWIND_ROLE " %s/%d scram-sha-256", address, bits));
	}
	freeaddrinfo(all);
	return known;
}

static void
without_repetitions(char **lines)
{
	int			n = 0;

	for (int i = 0; lines && lines[i]; i++)
	{
		bool		again = false;

		for (int j = 0; j < n; j++)
			again = again || strcmp(lines[j], lines[i]) == 0;
		if (again)
			free(lines[i]);
		else
			lines[n++] = lines[i];
	}
	if (lines)
		lines[n] = NULL;
}

char **
text_hba_lines(const InitOptions *options, const char **unknown)
{
	char	  **lines = NULL;

	*unknown = add_hba_of(&lines, options->host) ? NULL : options->host;
	for (int i = 0; i < options->n_peers; i++)
		if (options->peers[i].port && !add_hba_of(&lines, options->peers[i].host))
			*unknown = options->peers[i].host;
	without_repetitions(lines);
	return lines;
}

/* ---- SQL ---- */

int
text_database_length(const char *word)
{
	return (int) strcspn(word, "=");
}

char *
text_database_settings(const char *word)
{
	const char *name = word + text_database_length(word);

	return *name ? xasprintf("dbname=%s", name + 1) : xstrdup("");
}

static void
add_node(Text *text, const char *name, const char *host, int port, int agent_port)
{
	bool		six = strchr(host, ':') != NULL;

	if (port)
		text_addf(text, "SELECT pingpong.add_node('%s', '%s', %d, ", name, host, port);
	else
		text_addf(text, "SELECT pingpong.add_router('%s', ", name);
	text_addf(text, "'https://%s%s%s:%d')\nWHERE NOT EXISTS (SELECT FROM pingpong.node WHERE name = '%s');\n",
			  six ? "[" : "", host, six ? "]" : "", agent_port, name);
}

/* A route on all routers: the first makes it, the others serve it, too. */
static void
add_route(Text *text, const char *kind, char *const *databases, const InitOptions *options)
{
	const char *first = NULL;

	for (int i = 0; databases && i < options->n_peers; i++)
	{
		const char *router = options->peers[i].name;

		if (options->peers[i].port)
			continue;
		if (first)
		{
			text_addf(text, "SELECT pingpong.add_endpoint('%s1', '%s', 'main')\nWHERE NOT EXISTS (SELECT FROM "
					  "pingpong.route_endpoint\n    WHERE route = '%s1' AND router = '%s');\n", kind, router, kind,
					  router);
			continue;
		}
		first = router;
		text_addf(text, "SELECT pingpong.add_route('%s1', '%s', 'pgbouncer', '%s', 'main',\n    '{", kind, kind,
				  router);
		for (int d = 0; databases[d]; d++)
		{
			char	   *settings = text_database_settings(databases[d]);

			text_addf(text, "%s\"%.*s\": \"%s\"", d ? ", " : "", text_database_length(databases[d]), databases[d],
					  settings);
			free(settings);
		}
		text_addf(text, "}')\nWHERE NOT EXISTS (SELECT FROM pingpong.route WHERE name = '%s1');\n", kind);
	}
}

char *
text_register_sql(const InitHost *host, const InitOptions *options)
{
	Text		text = {0};

	text_addf(&text, "-- In the database \"%s\" of the primary, as a superuser. It may be run again.\n"
			  "\\set ON_ERROR_STOP on\nCREATE EXTENSION IF NOT EXISTS pg_pingpong;\n", options->database);
	add_node(&text, options->node, options->host, host->pg->port, options->agent_port);
	for (int i = 0; i < options->n_peers; i++)
		add_node(&text, options->peers[i].name, options->peers[i].host, options->peers[i].port,
				 options->peers[i].agent_port);
	add_route(&text, "rw", options->rw, options);
	add_route(&text, "ro", options->ro, options);
	return text.data;
}
