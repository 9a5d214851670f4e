/*
 * standby.h
 *		An upstream and how a standby gets to it.
 */
#ifndef PINGPONG_AGENT_PG_STANDBY_H
#define PINGPONG_AGENT_PG_STANDBY_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "agent/job/action.h"

typedef struct Upstream
{
	const char *host;
	char		port[8];
	int			port_number;
	const char *slot;			/* NULL: none */
	const char *name;			/* application_name */
} Upstream;

/* Reads host, port, slot and name from the parameters of a job; fails it when they are wrong. */
extern int	upstream_read(ActionContext *ctx, json_t *params, Upstream *upstream);

/* What a server has to reach to be called a standby of the upstream: a position on its timeline. */
typedef struct Goal
{
	unsigned	timeline;
	unsigned long long lsn;
} Goal;

/* Does the server receive WAL from there now? */
extern bool standby_streams(PGconn *conn, const Upstream *upstream);

/*
 * Waits until the server streams from there (by stream_deadline) and has replayed the goal (by deadline): only then
 * it follows that server, and not merely has a connection to it. Where replay is paused or delayed on purpose the WAL
 * must be here. Both deadlines are monotonic. The moment (realtime), 0: not in time, or the connection broke.
 */
extern double standby_wait_streaming(ActionContext *ctx, PGconn *conn, const Upstream *upstream, const Goal *goal,
									 double stream_deadline, double deadline);

/* Changes the upstream of a running standby by reload. */
extern int	standby_redirect(ActionContext *ctx, PGconn *conn, const Upstream *upstream);

/* Makes a stopped server's data directory that of a standby: settings first, then standby.signal. */
extern int	standby_configure_offline(ActionContext *ctx, const char *data, const Upstream *upstream);

#endif							/* PINGPONG_AGENT_PG_STANDBY_H */
