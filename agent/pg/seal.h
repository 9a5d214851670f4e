/*
 * seal.h
 *		The seal of a server, running or not.
 */
#ifndef PINGPONG_AGENT_PG_SEAL_H
#define PINGPONG_AGENT_PG_SEAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/core/config.h"
#include "agent/pg/datadir.h"

#define SERVER_SEAL_SQL "SELECT state, seal_lsn, run FROM pingpong.gate"

/* Is the seal of the server in force? If so, of which run, and where clients' writes end. */
extern bool server_seal(const PgInstance *pg, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn);

/* The same of one that does not run, by its file in the data directory (or where that is now). */
extern bool seal_read(const char *place, const DataDir *dir, char *run, size_t run_size, unsigned long long *lsn);

/*
 * The seal of one directory for another, which is that of a new system: same run, epoch, target, position and time;
 * durable. 0, or -1 with errno.
 */
extern int	seal_carry(const char *from, const char *to, const DataDir *dir);

#endif							/* PINGPONG_AGENT_PG_SEAL_H */
