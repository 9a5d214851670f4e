/*
 * source.c
 *		Where did the new primary's timeline leave ours, and did we write past that point?
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/child.h"
#include "agent/control.h"
#include "agent/rejoin.h"
#include "agent/text.h"

#define RETRY_MS 50
#define CONNECT_LIMIT_MS 10000

/* Of pg_control on all majors: at 16 the state, at 48 the timeline of the last checkpoint. */
static bool
read_control(const char *data, int32_t *state, uint32_t *tli)
{
	char	   *path = xasprintf("%s/global/pg_control", data);
	size_t		size = 0;
	char	   *bytes = file_read(path, 65536, &size);
	bool		whole = bytes && size >= 52;

	if (whole)
	{
		memcpy(state, bytes + 16, sizeof(*state));
		memcpy(tli, bytes + 48, sizeof(*tli));
	}
	free(bytes);
	free(path);
	return whole;
}

/* The first eight bytes of pg_control, on all majors. */
static bool
local_system(const char *data, char *text, size_t size)
{
	char	   *path = xasprintf("%s/global/pg_control", data);
	size_t		length = 0;
	char	   *bytes = file_read(path, 65536, &length);
	bool		known = bytes && length >= sizeof(uint64_t);
	uint64_t	id;

	if (known)
	{
		memcpy(&id, bytes, sizeof(id));
		snprintf(text, size, "%llu", (unsigned long long) id);
	}
	free(bytes);
	free(path);
	return known;
}

bool
local_was_primary(const char *data)
{
	enum {SHUTDOWNED = 1, SHUTDOWNING = 3, IN_CRASH_RECOVERY = 4, IN_PRODUCTION = 6};
	int32_t		state;
	uint32_t	tli;

	return read_control(data, &state, &tli) &&
		(state == SHUTDOWNED || state == SHUTDOWNING || state == IN_CRASH_RECOVERY || state == IN_PRODUCTION);
}

/* The newest timeline that a server was promoted to here, by its history file; segments may be left from a life before. */
static unsigned
newest_history(const char *data)
{
	char	   *path = xasprintf("%s/pg_wal", data);
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	unsigned	newest = 0;

	while (dir && (entry = readdir(dir)))
	{
		unsigned	tli;

		if (strspn(entry->d_name, "0123456789ABCDEF") == 8 && strcmp(entry->d_name + 8, ".history") == 0 &&
			sscanf(entry->d_name, "%8X", &tli) == 1 && tli > newest)
			newest = tli;
	}
	if (dir)
		closedir(dir);
	free(path);
	return newest;
}

/*
 * A primary that was promoted a moment ago has made no checkpoint on its timeline yet; a
 * standby may be further than its control file says, which does no harm: what it has of
 * the source's timeline is the source's.
 */
unsigned
local_timeline(const char *data)
{
	int32_t		state;
	uint32_t	tli;
	unsigned	promoted;

	if (!read_control(data, &state, &tli))
		return 0;
	promoted = local_was_primary(data) ? newest_history(data) : 0;
	return promoted > tli ? promoted : tli;
}

/* The source was promoted a moment ago: the first attempts may come too early. */
static PGconn *
connect_source(Rejoin *rejoin, const char *conninfo, bool replication)
{
	double		limit = clock_monotonic_ms() + CONNECT_LIMIT_MS;
	char		error[512] = "";

	while (clock_monotonic_ms() < limit && clock_monotonic_ms() < rejoin->deadline)
	{
		PGconn	   *conn = pg_remote(conninfo, rejoin->upstream.host, rejoin->upstream.port_number, replication,
									 error, sizeof(error));

		if (conn)
			return conn;
		if (action_cancelled(rejoin->ctx))
			break;
		sleep_ms(RETRY_MS);
	}
	action_fail(rejoin->ctx, STATE_CONNECTION_FAILURE, "could not connect to %s:%s: %s", rejoin->upstream.host,
				rejoin->upstream.port, error);
	return NULL;
}

/* A history file: a line "parent timeline <tab> LSN where it was left <tab> reason" for each ancestor. */
static void
read_history(Rejoin *rejoin, const char *text, unsigned local_tli)
{
	while (*text)
	{
		unsigned	tli,
					high,
					low;

		if (sscanf(text, "%u\t%X/%X", &tli, &high, &low) == 3 && tli == local_tli)
		{
			rejoin->fork_known = true;
			rejoin->fork_lsn = (unsigned long long) high << 32 | low;
		}
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
}

static int
ask_history(Rejoin *rejoin, PGconn *conn, unsigned local_tli)
{
	char		sql[64];
	PGresult   *res;

	snprintf(sql, sizeof(sql), "TIMELINE_HISTORY %u", rejoin->source_tli);
	res = pg_query_or_fail(rejoin->ctx, conn, sql, 0, NULL);
	if (!res)
		return -1;
	read_history(rejoin, PQgetvalue(res, 0, 1), local_tli);
	PQclear(res);
	return 0;
}

/* A missing slot would only show as a standby that never streams. */
static int
ask_slot(Rejoin *rejoin, PGconn *conn)
{
	char	   *sql;
	PGresult   *res;
	bool		missing;

	if (!rejoin->upstream.slot)
		return 0;
	sql = xasprintf("READ_REPLICATION_SLOT %s", rejoin->upstream.slot);
	res = pg_query(conn, NULL, 0, sql, 0, NULL);
	free(sql);
	missing = res && PQntuples(res) == 1 && PQgetisnull(res, 0, 0);
	PQclear(res);
	if (missing)
		return action_fail(rejoin->ctx, STATE_UNDEFINED_OBJECT, "%s:%s has no replication slot \"%s\"",
						   rejoin->upstream.host, rejoin->upstream.port, rejoin->upstream.slot);
	return 0;
}

/* Not even by force: what is here is another cluster, and whoever asked has mixed up two hosts. */
static int
check_same_cluster(Rejoin *rejoin)
{
	char		ours[32];

	if (!local_system(rejoin->config->pg.data, ours, sizeof(ours)) || strcmp(ours, rejoin->source_system) == 0)
		return 0;
	action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "%s:%s is not of this server's cluster",
				rejoin->upstream.host, rejoin->upstream.port);
	action_detail(rejoin->ctx, "The system identifier is %s there, and %s here.", rejoin->source_system, ours);
	action_hint(rejoin->ctx, "To give this node to another cluster, empty its data directory first.");
	return -1;
}

int
source_inspect(Rejoin *rejoin, unsigned local_tli)
{
	PGconn	   *conn = connect_source(rejoin, rejoin->config->pg.replication, true);
	PGresult   *res = conn ? pg_query_or_fail(rejoin->ctx, conn, "IDENTIFY_SYSTEM", 0, NULL) : NULL;
	int			rc = res ? 0 : -1;

	if (res)
	{
		snprintf(rejoin->source_system, sizeof(rejoin->source_system), "%s", PQgetvalue(res, 0, 0));
		rejoin->source_tli = (unsigned) strtoul(PQgetvalue(res, 0, 1), NULL, 10);
		rejoin->fork_known = rejoin->source_tli == local_tli;
		rc = check_same_cluster(rejoin);
		if (rc == 0 && rejoin->source_tli > 1 && !rejoin->fork_known)
			rc = ask_history(rejoin, conn, local_tli);
	}
	if (rc == 0)
		rc = ask_slot(rejoin, conn);
	PQclear(res);
	PQfinish(conn);
	return rc;
}

/*
 * Is there a file in which WAL behind `lsn` would be? Asked first,
 * because pg_waldump waits five seconds for a segment that is missing.
 */
static bool
segment_exists(const char *wal, unsigned tli, unsigned long long lsn)
{
	DIR		   *dir = opendir(wal);
	struct dirent *entry;
	struct stat st = {0};
	unsigned long long per_id;
	char	   *path;
	bool		exists;

	while (dir && st.st_size == 0 && (entry = readdir(dir)) != NULL)
		if (strlen(entry->d_name) == 24 && strspn(entry->d_name, "0123456789ABCDEF") == 24)
		{
			path = xasprintf("%s/%s", wal, entry->d_name);
			if (stat(path, &st) != 0)
				st.st_size = 0;
			free(path);
		}
	if (dir)
		closedir(dir);
	if (st.st_size == 0)
		return false;
	per_id = 0x100000000ULL / (unsigned long long) st.st_size;
	lsn /= (unsigned long long) st.st_size;
	path = xasprintf("%s/%08X%08X%08X", wal, tli, (unsigned) (lsn / per_id), (unsigned) (lsn % per_id));
	exists = file_exists(path);
	free(path);
	return exists;
}

/*
 * pg_waldump finds the first valid record at or after the fork: then we have diverged.
 * Finding none is an error to it.  When it cannot be run at all we say "not diverged":
 * a start as a standby finds the truth by itself, this only saves the attempt.
 */
bool
source_diverged(Rejoin *rejoin, unsigned local_tli)
{
	char	   *program = bin_path(rejoin->config, "pg_waldump");
	char	   *wal = data_path(rejoin->config, "pg_wal");
	char		tli[16];
	char		start[32];
	char	   *argv[] = {program, "-p", wal, "-t", tli, "-s", start, "-n", "1", NULL};
	bool		diverged = !rejoin->fork_known;

	if (rejoin->fork_known && rejoin->fork_lsn != 0)
	{
		snprintf(tli, sizeof(tli), "%u", local_tli);
		snprintf(start, sizeof(start), "%X/%X", (unsigned) (rejoin->fork_lsn >> 32), (unsigned) rejoin->fork_lsn);
		diverged = segment_exists(wal, local_tli, rejoin->fork_lsn) && child_run_quietly(argv, 30000) == 0;
	}
	free(wal);
	free(program);
	return diverged;
}

int
source_checkpoint(Rejoin *rejoin)
{
	PGconn	   *conn = connect_source(rejoin, rejoin->config->pg.rewind, false);
	int			rc = -1;

	if (!conn)
		return -1;
	action_progress(rejoin->ctx, -1, "checkpoint on %s:%s", rejoin->upstream.host, rejoin->upstream.port);
	/* without the right to do it we wait for the one that every promotion begins */
	PQclear(pg_query(conn, NULL, 0, "CHECKPOINT", 0, NULL));
	while (rc < 0 && PQstatus(conn) == CONNECTION_OK && clock_monotonic_ms() < rejoin->deadline &&
		   !action_cancelled(rejoin->ctx))
	{
		char	   *tli = pg_value(conn, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()");

		if (!tli)
			break;
		if (strtoul(tli, NULL, 10) >= rejoin->source_tli)
			rc = 0;
		else
			sleep_ms(RETRY_MS);
		free(tli);
	}
	PQfinish(conn);
	return rc == 0 ? 0 : action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE,
									 "%s:%s has made no checkpoint on its timeline", rejoin->upstream.host,
									 rejoin->upstream.port);
}
