/*
 * pgbouncer.h
 *		What main.c needs of the PgBouncer driver.
 */
#ifndef PINGPONG_AGENT_PGBOUNCER_H
#define PINGPONG_AGENT_PGBOUNCER_H

/* Watches over the pauses that a former life of the agent left behind. */
extern void pgbouncer_start(void);

#endif							/* PINGPONG_AGENT_PGBOUNCER_H */
