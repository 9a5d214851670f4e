/*
 * conduct.h
 *		The agent of a rehearsal: it serves the clone's worker, and asks the clone for what is rehearsed.
 *
 * It finds its order (JSON) in REHEARSAL_ORDER beside its configuration, and leaves the answer in REHEARSAL_RESULT.
 * Its output is progress, line by line. A line that begins with REHEARSAL_FAILED is what it has found; with
 * REHEARSAL_BROKEN, why it could not find out anything.
 */
#ifndef PINGPONG_AGENT_REHEARSE_CONDUCT_H
#define PINGPONG_AGENT_REHEARSE_CONDUCT_H

#define REHEARSAL_ORDER "order.json"
#define REHEARSAL_RESULT "result.json"
#define REHEARSAL_BROKEN "not rehearsed: "
#define REHEARSAL_FAILED "on the clone: "	/* the view pingpong.rehearsal knows it by that, too */

/* "what" of an order */
#define REHEARSE_UPGRADE "upgrade"
#define REHEARSE_BACK "rollback"

/* Begins it in a thread, which ends this process as SIGTERM does. Before the configuration changes. */
extern void conduct_start(void);

/* The status that this process is to end with: 0 if all went well. */
extern int	conduct_status(void);

#endif							/* PINGPONG_AGENT_REHEARSE_CONDUCT_H */
