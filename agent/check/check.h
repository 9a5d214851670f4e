/*
 * check.h
 *		--check: the configuration and what it can reach.
 */
#ifndef PINGPONG_AGENT_CHECK_CHECK_H
#define PINGPONG_AGENT_CHECK_CHECK_H

/* --check; returns the exit status. */
extern int	check_run(const char *path);

#endif							/* PINGPONG_AGENT_CHECK_CHECK_H */
