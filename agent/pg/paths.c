/*
 * paths.c
 *		Where the local server's files and programs are.
 */
#include <stddef.h>

#include "agent/core/alloc.h"
#include "agent/pg/paths.h"

const char *const server_programs[] = {"pg_ctl", "pg_rewind", "pg_basebackup", "pg_waldump", "postgres", "initdb",
									   NULL};

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
