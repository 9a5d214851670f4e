/*
 * seal.c
 *		The seal of a server, running or not.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/pg/formats.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"

#define QUERY_TIMEOUT_MS 10000
#define SEAL_FILE "pingpong.seal"
#define SEAL_BEFORE_FILE "pingpong.seal.before"	/* what a fence has replaced */
#define POSTGRES_EPOCH_S 946684800LL	/* 2000-01-01 */

/* CRC-32C, as gate/seal.c has it at the end of the file */
static uint32_t
checksum(const char *text, size_t size)
{
	uint32_t	crc = 0xFFFFFFFF;

	for (size_t i = 0; i < size; i++)
	{
		crc ^= (unsigned char) text[i];
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78 : 0);
	}
	return crc ^ 0xFFFFFFFF;
}

bool
server_seal_told(const PgInstance *pg, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn, bool *told)
{
	char	   *database = pg_pingpong_database(conn);
	PGconn	   *there = database ? pg_local(pg, database, QUERY_TIMEOUT_MS, NULL, 0) : NULL;
	PGresult   *res = there ? pg_query(there, NULL, 0, SERVER_SEAL_SQL, 0, NULL) : NULL;
	bool		sealed = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "sealed") == 0 &&
		lsn_parse(PQgetvalue(res, 0, 1), lsn);

	if (sealed)
		snprintf(run, run_size, "%s", PQgetvalue(res, 0, 2));
	*told = res && PQntuples(res) == 1;
	PQclear(res);
	PQfinish(there);
	free(database);
	return sealed;
}

bool
server_seal(const PgInstance *pg, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn)
{
	bool		told;

	return server_seal_told(pg, conn, run, run_size, lsn, &told);
}

/*
 * The seal of a server that does not run: pingpong.seal is text, key=value (gate/seal.c). Void on a newer timeline.
 */
bool
seal_read(const char *place, const DataDir *dir, char *run, size_t run_size, unsigned long long *lsn)
{
	char	   *path = xasprintf("%s/" SEAL_FILE, place);
	char	   *text = file_read(path, 4096, NULL);
	char	   *system = text ? conf_value(text, "system_identifier") : NULL;
	char	   *timeline = text ? conf_value(text, "timeline") : NULL;
	char	   *position = text ? conf_value(text, "lsn") : NULL;
	char	   *name = text ? conf_value(text, "run") : NULL;
	bool		sealed = system && timeline && name && text && strstr(text, "\ncrc=") &&
		strtoull(system, NULL, 10) == dir->system && strtoul(timeline, NULL, 10) >= dir->timeline &&
		lsn_parse(position, lsn);

	if (sealed)
		snprintf(run, run_size, "%s", name);
	free(name);
	free(position);
	free(timeline);
	free(system);
	free(text);
	free(path);
	return sealed;
}

static char *
seal_text(const char *from, const DataDir *dir)
{
	static const char *const carried[] = {"epoch", "run", "target", "lsn", "at"};
	char	   *value[5];
	char	   *text = NULL;
	bool		whole = true;

	for (int i = 0; i < 5; i++)
	{
		value[i] = conf_value(from, carried[i]);
		whole &= value[i] != NULL;
	}
	if (whole)
		text = xasprintf("system_identifier=%llu\ntimeline=%u\nepoch=%s\nrun=%s\ntarget=%s\nlsn=%s\nat=%s\n",
						 (unsigned long long) dir->system, dir->timeline, value[0], value[1], value[2], value[3],
						 value[4]);
	for (int i = 0; i < 5; i++)
		free(value[i]);
	return text;
}

int
seal_carry(const char *from, const char *to, const DataDir *dir)
{
	char	   *source = xasprintf("%s/" SEAL_FILE, from);
	char	   *path = xasprintf("%s/" SEAL_FILE, to);
	char	   *old = file_read(source, 4096, NULL);
	char	   *text = old ? seal_text(old, dir) : NULL;
	char	   *whole = text ? xasprintf("%scrc=%08X\n", text, checksum(text, strlen(text))) : NULL;
	int			rc = whole ? file_write_atomic(path, whole, strlen(whole), 0600, true) : -1;

	if (old && !text)
		errno = EINVAL;
	free(whole);
	free(text);
	free(old);
	free(path);
	free(source);
	return rc;
}

/* ---- a fence ---- */

static int
write_sealed(const char *path, const char *text)
{
	char	   *whole = xasprintf("%scrc=%08X\n", text, checksum(text, strlen(text)));
	int			rc = file_write_atomic(path, whole, strlen(whole), 0600, true);

	free(whole);
	return rc;
}

int
seal_fence(const char *place, const DataDir *dir, const SealFence *fence)
{
	char	   *path = xasprintf("%s/" SEAL_FILE, place);
	char	   *before = xasprintf("%s/" SEAL_BEFORE_FILE, place);
	char		run[80] = "";
	unsigned long long lsn = SEAL_LSN_UNKNOWN;
	bool		sealed = seal_read(place, dir, run, sizeof(run), &lsn);
	char	   *text;
	int			rc = 0;

	if (!sealed)
		lsn = SEAL_LSN_UNKNOWN;
	text = xasprintf("system_identifier=%llu\ntimeline=%u\nepoch=%lld\nrun=%s\ntarget=%s\nlsn=%X/%X\nat=%lld\n"
					 "why=a failover to \"%s\" has fenced this server\n",
					 (unsigned long long) dir->system, dir->timeline, fence->epoch, fence->run, fence->target,
					 (unsigned) (lsn >> 32), (unsigned) lsn, ((long long) time(NULL) - POSTGRES_EPOCH_S) * 1000000,
					 fence->target);
	if (!dir->known)
	{
		errno = EINVAL;
		rc = -1;
	}
	else if (sealed && strcmp(run, fence->run) != 0)
		rc = file_copy(path, before);	/* the seal itself stays until it is replaced */
	else if (!sealed)
		rc = unlink(before) < 0 && errno != ENOENT ? -1 : 0;
	if (rc == 0)
		rc = write_sealed(path, text);
	free(text);
	free(before);
	free(path);
	return rc;
}

int
seal_unfence(const char *place, const char *run)
{
	DataDir		dir = datadir_look(place);
	char	   *path = xasprintf("%s/" SEAL_FILE, place);
	char	   *before = xasprintf("%s/" SEAL_BEFORE_FILE, place);
	char		present[80] = "";
	unsigned long long lsn;
	int			rc = 0;

	if (seal_read(place, &dir, present, sizeof(present), &lsn) && strcmp(present, run) == 0)
		rc = file_exists(before) ? rename(before, path) : unlink(path);
	if (rc == 0)
		rc = file_fsync_path(place);
	free(before);
	free(path);
	return rc;
}
