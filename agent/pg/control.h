/*
 * control.h
 *		Starting and stopping the local server, by the means that manages it.
 */
#ifndef PINGPONG_AGENT_PG_CONTROL_H
#define PINGPONG_AGENT_PG_CONTROL_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "agent/job/action.h"

/* Does the server run? By its process, proved; with a command also by its answer. */
extern bool control_running(const PgInstance *pg);

/*
 * Ends it: immediate (no shutdown checkpoint, which would be a record past the fork) or fast.  Down already is fine.
 */
extern int	control_stop(ActionContext *ctx, bool immediate, int timeout_ms);

/* Starts it and returns; it need not accept connections yet.  Up already is fine. */
extern int	control_start(ActionContext *ctx);

/* How a person starts it, to be read, malloc'd. */
extern char *control_start_words(const PgInstance *pg);

/* Waits until it accepts connections; NULL with the job's error set: gone, or not in time. */
extern PGconn *control_wait_ready(ActionContext *ctx, double deadline);

#endif							/* PINGPONG_AGENT_PG_CONTROL_H */
