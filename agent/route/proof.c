/*
 * proof.c
 *		What PgBouncer says of itself: where databases point, and whether it reads our file.
 *
 * PgBouncer before 1.24 answers RELOAD with OK even if it failed, and no version says which files it has read. So the
 * agent makes a change that only the console of PgBouncer can see. It costs one RELOAD: before 1.24 that makes
 * PgBouncer connect to its servers again where TLS to them may be used, as every RELOAD does. The probe leaves the
 * memory of PgBouncer with the next RELOAD, that of the commit or of the release. It is removed from the file before
 * we return.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/core/clock.h"
#include "agent/route/bouncerfile.h"
#include "agent/route/bouncerini.h"
#include "agent/route/burst.h"
#include "agent/route/console.h"
#include "agent/route/proof.h"
#include "agent/route/retry.h"

#define APPEARS_MS 500
#define LOOK_AGAIN_MS 20
#define LOGINS_MS 200

static int
row_leads(PGresult *shown, const char *name, const char *extra, const char *host, int port, char *why,
		  size_t why_size)
{
	int			row = admin_row(shown, name);
	const char *is_host = row < 0 ? NULL : admin_column(shown, row, "host");
	const char *is_port = row < 0 ? NULL : admin_column(shown, row, "port");
	const char *is_dbname = row < 0 ? NULL : admin_column(shown, row, "database");
	char	   *dbname = bouncer_value(extra, "dbname");
	int			rc = -1;

	if (row < 0)
		snprintf(why, why_size, "it has no database \"%s\"", name);
	else if (strcmp(is_host ? is_host : "", host) != 0 || !is_port || atoi(is_port) != port)
		snprintf(why, why_size, "database \"%s\" points to %s:%s, not to %s:%d", name,
				 is_host ? is_host : "its unix socket",
				 is_port ? is_port : "?", *host ? host : "its unix socket", port);
	else if (dbname && is_dbname && strcmp(dbname, is_dbname) != 0)
		snprintf(why, why_size, "database \"%s\" points to the database \"%s\", not to \"%s\"", name, is_dbname,
				 dbname);
	else
		rc = 0;
	free(dbname);
	return rc;
}

int
proof_leads(PGresult *shown, json_t *databases, const char *host, int port, char *why, size_t why_size)
{
	const char *name;
	json_t	   *extra;

	json_object_foreach(databases, name, extra)
		if (row_leads(shown, name, json_string_value(extra), host, port, why, why_size) < 0)
			return -1;
	return 0;
}

static void
name_probe(char *name, size_t size)
{
	unsigned char noise[6] = {0};

	if (getrandom(noise, sizeof(noise), 0) != sizeof(noise))
		memset(noise, getpid() & 0xff, sizeof(noise));	/* it need not be secret, only new */
	snprintf(name, size, BOUNCER_PROBE_PREFIX "%02x%02x%02x%02x%02x%02x", noise[0], noise[1], noise[2], noise[3],
			 noise[4], noise[5]);
}

int
proof_clean(const BouncerConfig *bouncer, char *why, size_t why_size)
{
	char	   *text;
	char	   *clean;
	int			rc = bouncer_file_read(bouncer->file, &text, why, why_size);

	if (rc < 0)
		return rc;
	clean = bouncer_without_probes(text);
	if (strcmp(clean, text) != 0)
		rc = bouncer_file_replace(bouncer->file, clean, why, why_size);
	free(clean);
	free(text);
	return rc;
}

/* It is there at once, or not at all; but a console may be another process's. */
static int
wait_for_probe(Endpoint *endpoint, const BouncerConfig *bouncer, const char *probe, double deadline, char *why,
			   size_t why_size)
{
	double		limit = clock_monotonic_ms() + APPEARS_MS;

	for (;;)
	{
		PGresult   *shown = admin_control(endpoint, bouncer, "SHOW DATABASES", deadline, why, why_size);
		bool		there = shown && admin_row(shown, probe) >= 0;

		PQclear(shown);
		if (!shown || there)
			return there ? 0 : -1;
		if (clock_monotonic_ms() > limit || clock_monotonic_ms() > deadline)
			break;
		sleep_ms(LOOK_AGAIN_MS);
	}
	snprintf(why, why_size, "a database that was written to \"%s\" did not appear after RELOAD", bouncer->file);
	return -1;
}

static int
reload_with(Endpoint *endpoint, const BouncerConfig *bouncer, const char *probe, double deadline, char *why,
			size_t why_size)
{
	char	   *statements[] = {"RELOAD", NULL, NULL};
	BurstAnswer answers[2];

	statements[1] = (char *) retry_statement(endpoint); /* for a login that the RELOAD breaks off */
	retry_await_logins(endpoint, bouncer, NULL, LOGINS_MS);
	endpoint->probed = true;
	if (burst_run(endpoint, bouncer, statements, answers, deadline, why, why_size) < 0)
		return -1;
	if (answers[0].ok)
		return wait_for_probe(endpoint, bouncer, probe, deadline, why, why_size);
	/* it may have come as far as the databases, but it does not see what comes after the mistake */
	snprintf(why, why_size, "RELOAD: %s", answers[0].error);
	return -1;
}

int
proof_try(Endpoint *endpoint, const BouncerConfig *bouncer, double deadline, char **text, char *why, size_t why_size)
{
	char		probe[64];
	char		later[512];
	char	   *with;
	int			rc;

	*text = NULL;
	name_probe(probe, sizeof(probe));
	if (proof_clean(bouncer, why, why_size) < 0 || bouncer_file_read(bouncer->file, text, why, why_size) < 0)
		return -1;
	with = bouncer_with_probe(*text, probe);
	if (!with)
	{
		int			line = bouncer_bad_line(*text);

		if (line)
			snprintf(why, why_size, "PgBouncer cannot read \"%s\", line %d", bouncer->file, line);
		else
			snprintf(why, why_size, "\"%s\" has no [databases]", bouncer->file);
		return 1;
	}
	rc = bouncer_file_replace(bouncer->file, with, why, why_size);
	if (rc == 0)
	{
		rc = reload_with(endpoint, bouncer, probe, deadline, why, why_size) < 0;
		if (proof_clean(bouncer, later, sizeof(later)) < 0 && rc == 0)
			rc = (snprintf(why, why_size, "%s", later), -1);
	}
	free(with);
	return rc;
}
