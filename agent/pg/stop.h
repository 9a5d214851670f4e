/*
 * stop.h
 *		The end of a server's life as a primary: its sessions, stopping it.
 */
#ifndef PINGPONG_AGENT_PG_STOP_H
#define PINGPONG_AGENT_PG_STOP_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "agent/job/action.h"

/* The timeline on which a primary writes; its control file may still tell an older one. */
#define SERVER_TIMELINE_SQL \
	"SELECT ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int"

/*
 * That which a standby receives. When its primary is gone no walreceiver tells it, and the control file may not know
 * it for a while: then it is that of the WAL that was written last. pg_rewind leaves files of the timeline that was
 * given up, which are older, whatever their number.
 */
#define STANDBY_TIMELINE_SQL \
	"coalesce((SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver), " \
	"greatest((SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()), " \
	"(SELECT ('x' || pg_catalog.left(name, 8))::bit(32)::int FROM pg_catalog.pg_ls_waldir() " \
	"WHERE name ~ '^[0-9A-F]{24}$' ORDER BY modification DESC, name DESC LIMIT 1)))"

/*
 * Sessions of clients. Statements that wait at the gate (wait event type Extension) are no readers: they would wait
 * for ever.
 */
#define SERVER_OTHER_SESSIONS \
	"FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' " \
	"AND pid <> pg_catalog.pg_backend_pid() AND application_name <> 'pingpong-agent'"
#define SERVER_BUSY_SESSIONS \
	SERVER_OTHER_SESSIONS " AND state <> 'idle' AND wait_event_type IS DISTINCT FROM 'Extension'"

/*
 * Down afterwards, whatever it was, within the deadline (monotonic ms). A primary's readers have `readers_grace_ms`,
 * then each session is ended with 57P01. The stop is immediate: of a sealed server nothing can be lost, and a clean
 * stop would write a checkpoint record past the fork. `result` gets stop_lsn and stopped_ms.
 */
extern int	server_stop(ActionContext *ctx, bool primary, int readers_grace_ms, double deadline, json_t *result);

/*
 * A postmaster that was killed leaves children that take a moment to notice, and may still write there until then.
 * Fails the job (55000) when they do not go.
 */
extern int	server_await_remains(ActionContext *ctx, double deadline);

/* For certain: no process of it is left. False: it runs, or that cannot be told. */
extern bool server_is_stopped(const PgInstance *pg);

/*
 * A job that changes the data directory has it for itself: two at a time would destroy each other's work. False:
 * another job has it. Each instance has its own. Released by the job that has claimed it, in any thread.
 */
extern bool server_claim(const char *data);
extern void server_release(const char *data);

/* The same with patience: fails the job (55006) when another one has it for so long. */
extern int	server_claim_wait(ActionContext *ctx, const char *data, int timeout_ms);

#endif							/* PINGPONG_AGENT_PG_STOP_H */
