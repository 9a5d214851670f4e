/*
 * version.c
 *		Of which major of PostgreSQL the programs of an instance are.
 *
 * Two instances of one host may be of different majors, and the programs of one must not be used on the data of the
 * other. A number in the configuration could be wrong.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/job/child.h"
#include "agent/pg/paths.h"
#include "agent/pg/version.h"

#define ASK_TIMEOUT_MS 3000
#define MAJOR_MAX 999

static int
number(const char *text)
{
	long		value = strtol(text, NULL, 10);

	return value > 0 && value <= MAJOR_MAX ? (int) value : 0;
}

/* "postgres (PostgreSQL) 15.5 (Debian 15.5-1)", "postgres (PostgreSQL) 18beta1" */
int
version_parse(const char *text)
{
	const char *behind = strstr(text, ") ");

	return behind ? number(behind + 2) : 0;
}

static int
ask(const PgInstance *pg)
{
	char	   *program = bin_path(pg, "postgres");
	char	   *argv[] = {program, "--version", NULL};
	char		text[256];
	int			major = child_run_text(argv, ASK_TIMEOUT_MS, text, sizeof(text)) == 0 ? version_parse(text) : 0;

	free(program);
	return major;
}

void
versions_ask(AgentConfig *config)
{
	for (int i = 0; i < config->n_instances; i++)
		config->instances[i].major = ask(&config->instances[i]);
}

int
version_major(const PgInstance *pg)
{
	return pg->major ? pg->major : ask(pg);
}

int
version_of_data(const PgInstance *pg)
{
	char	   *path = data_path(pg, "PG_VERSION");
	char	   *text = file_read(path, 64, NULL);
	int			major = text ? number(text) : 0;

	free(text);
	free(path);
	return major;
}
