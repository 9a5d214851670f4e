/*
 * init.c
 *		pingpong-agent init: the order in which things are looked at and made, and what is left to do.
 *
 * Each part can be done again: what is right is left alone. So a call that ended half way is just repeated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/init/host.h"
#include "agent/init/init.h"
#include "agent/init/place.h"
#include "agent/init/pooler.h"
#include "agent/init/say.h"
#include "agent/init/server.h"
#include "agent/init/site.h"
#include "agent/init/texts.h"
#include "agent/pg/paths.h"

static int
write_texts(const InitSite *site, const InitHost *host, const InitOptions *options)
{
	char	   *ini = text_agent_ini(host, options, site->has_certificate);
	char	   *ini_path = site_path(options, "agent.ini");
	char	   *sql_path = site_path(options, "register.sql");
	char	   *sql = host->pg && !options->joined ? text_register_sql(host, options) : NULL;
	int			rc = place_file(host, ini_path, ini, PLACE_SHARED, options->force, options->dry_run);

	if (rc == 0 && sql)
		rc = place_file(host, sql_path, sql, PLACE_SHARED, true, options->dry_run);
	free(sql);
	free(sql_path);
	free(ini_path);
	free(ini);
	return rc;
}

/* ---- starting ---- */

static int
restart_server(const InitHost *host)
{
	const PgInstance *pg = host->pg;
	char	   *version = pg->cluster ? xstrdup(pg->cluster) : NULL;
	char	   *slash = version ? strchr(version, '/') : NULL;
	char	   *pg_ctl = bin_path(pg, "pg_ctl");
	char	   *log = xasprintf("%s/../log", pg->data);
	int			rc;

	if (slash)
		*slash = '\0';
	if (pg->control == PG_CONTROL_SYSTEMCTL)
		rc = host_run(host, false, (char *[]) {"/usr/bin/systemctl", "restart", pg->unit, NULL});
	else if (slash)
		rc = host_run(host, true, (char *[]) {"/usr/bin/pg_ctlcluster", version, slash + 1, "restart", NULL});
	else
		rc = host_run(host, true, (char *[]) {pg_ctl, "-D", pg->data, "-l", log, "-m", "fast", "-w", "-s", "restart",
											  NULL});
	if (rc == 0)
		init_say(INIT_MADE, "PostgreSQL was restarted");
	else
		init_say(INIT_FAIL, "PostgreSQL could not be restarted: see its log");
	free(log);
	free(pg_ctl);
	free(version);
	return rc == 0 ? 0 : -1;
}

/* Files that were just written are read by a restart, whether it ran before or not. */
static void
start_agent(const InitHost *host)
{
	if (host_run(host, false, (char *[]) {"/usr/bin/systemctl", "enable", "pingpong-agent", NULL}) == 0 &&
		host_run(host, false, (char *[]) {"/usr/bin/systemctl", "restart", "pingpong-agent", NULL}) == 0)
		init_say(INIT_MADE, "the agent runs (unit pingpong-agent.service)");
	else
		init_say(INIT_FAIL, "systemd could not start pingpong-agent.service");
}

static void
tell_start(const InitHost *host, const InitOptions *options, bool restart)
{
	char	   *unit = host->pg ? host_unit(host->pg) : NULL;

	if (restart)
		init_say(options->dry_run ? INIT_WOULD : INIT_TODO, "restart PostgreSQL for its settings: %s", unit);
	free(unit);
	init_say(options->dry_run ? INIT_WOULD : INIT_TODO, "start the agent: systemctl enable --now pingpong-agent");
}

static void
start(const InitHost *host, const InitOptions *options, bool restart)
{
	if (!options->start || options->dry_run || init_failures)
		tell_start(host, options, restart);
	else if (!restart || restart_server(host) == 0)
		start_agent(host);
}

/* ---- what comes next ---- */

static void
tell_next(const InitHost *host, const InitOptions *options)
{
	const InitPeer *standby = NULL;

	init_title("Next");
	printf("  try what was written:     %s%s%s pingpong-agent --check --config %s/agent.ini\n",
		   host->root ? "runuser -u " : "", host->root ? host->owner : "", host->root ? " --" : "", options->dir);
	if (options->joined || !host->pg)
		return;
	for (int i = 0; i < options->n_peers; i++)
	{
		standby = options->peers[i].port && !standby ? &options->peers[i] : standby;
		printf("  on %s, with %s/join/%s.json (a secret; remove it there and here afterwards):\n"
			   "                            pingpong-agent init --join %s.json --apply --start%s\n",
			   options->peers[i].name, options->dir, options->peers[i].name, options->peers[i].name,
			   options->peers[i].port ? " --set-aside" : "");
	}
	printf("  register them:            psql -d %s -f %s/register.sql\n", options->database, options->dir);
	if (standby)
		printf("  build the standby:        SELECT * FROM pingpong.rebuild('%s');\n", standby->name);
	printf("  see what is missing:      SELECT * FROM pingpong.check_setup();\n");
}

static int
set_up(const InitHost *host, const InitOptions *options)
{
	InitSite	site;
	bool		restart = false;
	int			rc;

	init_title("Files of the agent");
	rc = site_make(&site, host, options);
	if (rc == 0)
		rc = write_texts(&site, host, options);
	if (rc == 0)
		rc = site_write_joins(&site, host, options);
	if (rc == 0 && host->pg)
	{
		init_title("PostgreSQL");
		rc = server_set_up(&site, host, options, &restart);
	}
	if (rc == 0 && host->bouncer_ini)
	{
		init_title("PgBouncer");
		rc = pooler_set_up(host, options);
	}
	if (rc == 0)
	{
		init_title("Start");
		start(host, options, restart);
		tell_next(host, options);
	}
	return rc;
}

int
init_run(int argc, char **argv)
{
	InitOptions options;
	InitHost	host;
	int			rc = options_read(&options, argc, argv);

	if (rc != 0)
		return rc > 0 ? 0 : 2;
	printf("This host\n");
	rc = host_look(&host, &options);
	if (rc == 0)
		rc = set_up(&host, &options);
	return rc < 0 || init_failures ? 1 : 0;
}
