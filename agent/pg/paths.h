/*
 * paths.h
 *		Where the local server's files and programs are.
 */
#ifndef PINGPONG_AGENT_PG_PATHS_H
#define PINGPONG_AGENT_PG_PATHS_H

#include "agent/core/config.h"

/* PGDATA/name, malloc'd; bin/name, malloc'd */
extern char *data_path(const PgInstance *pg, const char *name);
extern char *bin_path(const PgInstance *pg, const char *name);

/*
 * The folder of its postgresql.conf, pg_hba.conf and pg_ident.conf; a file there; both malloc'd. It is PGDATA,
 * but for a cluster of Debian's: pg_ctlcluster reads /etc/postgresql/VERSION/NAME, and Debian's units call it.
 */
extern char *config_folder(const PgInstance *pg);
extern char *config_path(const PgInstance *pg, const char *name);
extern bool config_is_elsewhere(const PgInstance *pg);	/* not PGDATA */

/* In PGDATA, included by postgresql.conf: the settings that an upgrade has carried over. */
#define CARRIED_FILE "pingpong.carried.conf"

/* Files and folders in PGDATA that are the node's own: settings, logins, keys; ends with NULL. */
extern const char *const node_files[];

/* The programs in its bin folder that are needed to stop, start and remake it; ends with NULL. */
extern const char *const server_programs[];

#endif							/* PINGPONG_AGENT_PG_PATHS_H */
