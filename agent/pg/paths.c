/*
 * paths.c
 *		Where the local server's files and programs are.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/pg/paths.h"

const char *const server_programs[] = {"pg_ctl", "pg_rewind", "pg_basebackup", "pg_waldump", "postgres", "initdb",
									   NULL};

const char *const node_files[] = {"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf",
								 "server.crt", "server.key", "root.crt", "root.crl", "postmaster.opts", "conf.d",
								 CARRIED_FILE, NULL};

char *
data_path(const PgInstance *pg, const char *name)
{
	return xasprintf("%s/%s", pg->data, name);
}

char *
bin_path(const PgInstance *pg, const char *name)
{
	return xasprintf("%s/%s", pg->bin, name);
}

bool
config_is_elsewhere(const PgInstance *pg)
{
	char	   *cluster = pg->control == PG_CONTROL_SYSTEMCTL ? config_cluster_of_unit(pg->unit) : NULL;
	bool		by_unit = cluster != NULL;

	free(cluster);
	return by_unit || pg->control == PG_CONTROL_PG_CTLCLUSTER;
}

char *
config_folder(const PgInstance *pg)
{
	if (!config_is_elsewhere(pg))
		return xstrdup(pg->data);
	return xasprintf("/etc/postgresql/%s%s", pg->cluster, strchr(pg->cluster, '/') ? "" : "/main");
}

char *
config_path(const PgInstance *pg, const char *name)
{
	char	   *folder = config_folder(pg);
	char	   *path = xasprintf("%s/%s", folder, name);

	free(folder);
	return path;
}
