/*
 * stop.h
 *		The end of a server's life as a primary: its sessions, its seal, stopping it.
 */
#ifndef PINGPONG_AGENT_STOP_H
#define PINGPONG_AGENT_STOP_H

#include "agent/pg.h"

/* The timeline on which a primary writes; its control file may still tell an older one. */
#define SERVER_TIMELINE_SQL \
	"SELECT ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int"

/* Is the seal of the server in force? If so, of which run, and where clients' writes end. */
extern bool server_seal(const AgentConfig *config, PGconn *conn, char *run, size_t run_size, unsigned long long *lsn);

/*
 * Down afterwards, whatever it was, within the deadline (monotonic ms). A primary's readers have `readers_grace_ms`, then
 * each session is ended with 57P01. The stop is immediate: of a sealed server nothing can be lost, and a clean stop
 * would write a checkpoint record past the fork. `result` gets stop_lsn and stopped_ms.
 */
extern int	server_stop(ActionContext *ctx, bool primary, int readers_grace_ms, double deadline, json_t *result);

/*
 * A postmaster that was killed leaves children that take a moment to notice, and may still write there until then.
 * Fails the job (55000) when they do not go.
 */
extern int	server_await_remains(ActionContext *ctx, double deadline);

/* For certain: no process of it is left. False: it runs, or that cannot be told. */
extern bool server_is_stopped(const AgentConfig *config);

/*
 * Who changes the data directory has it for themselves: two at a time would pull it from under each other. False:
 * somebody else has it.
 */
extern bool server_claim(void);
extern void server_release(void);

#endif							/* PINGPONG_AGENT_STOP_H */
