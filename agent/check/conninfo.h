/*
 * conninfo.h
 *		--check: the files that connection strings name.
 */
#ifndef PINGPONG_AGENT_CHECK_CONNINFO_H
#define PINGPONG_AGENT_CHECK_CONNINFO_H

/* A connection string of an option: the files that it names. */
extern void check_conninfo(const char *what, const char *conninfo);

#endif							/* PINGPONG_AGENT_CHECK_CONNINFO_H */
