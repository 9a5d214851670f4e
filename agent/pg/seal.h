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

/* The same, and whether the server has told it: false is not "no". */
extern bool server_seal_told(const PgInstance *pg, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn,
							 bool *told);

/* The same of one that does not run, by its file in the data directory (or where that is now). */
extern bool seal_read(const char *place, const DataDir *dir, char *run, size_t run_size, unsigned long long *lsn);

/*
 * The seal of one directory for another, which is that of a new system: same run, epoch, target, position and time;
 * durable. 0, or -1 with errno.
 */
extern int	seal_carry(const char *from, const char *to, const DataDir *dir);

/* Of a fence: where the writes of clients end is not known. Behind every fork, so it proves nothing of any WAL. */
#define SEAL_LSN_UNKNOWN 0xFFFFFFFFFFFFFFFFULL

/*
 * Seals a server that does not run, for a run that replaces it: durable when this returns. What an earlier seal
 * proves of its WAL is kept. seal_unfence() takes it back, if the seal is that run's, and puts an earlier one back.
 * 0, or -1 with errno (EINVAL: the directory does not tell its cluster).
 */
typedef struct SealFence
{
	long long	epoch;
	const char *run;
	const char *target;
} SealFence;

extern int	seal_fence(const char *place, const DataDir *dir, const SealFence *fence);
extern int	seal_unfence(const char *place, const char *run);

#endif							/* PINGPONG_AGENT_PG_SEAL_H */
