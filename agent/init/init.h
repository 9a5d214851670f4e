/*
 * init.h
 *		pingpong-agent init: sets up the agent of this host, and shows what PostgreSQL and PgBouncer lack.
 */
#ifndef PINGPONG_AGENT_INIT_INIT_H
#define PINGPONG_AGENT_INIT_INIT_H

/* argv[0] is "init". The exit status: 0; 1: a line says "FAIL"; 2: the arguments cannot be used. */
extern int	init_run(int argc, char **argv);

#endif							/* PINGPONG_AGENT_INIT_INIT_H */
