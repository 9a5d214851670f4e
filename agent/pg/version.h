/*
 * version.h
 *		Of which major of PostgreSQL the programs of an instance are. The programs are asked.
 */
#ifndef PINGPONG_AGENT_PG_VERSION_H
#define PINGPONG_AGENT_PG_VERSION_H

#include "agent/core/config.h"

/* Asks the programs of all instances; before the configuration is installed, from where on it does not change. */
extern void versions_ask(AgentConfig *config);

/* What was told then; asked now where it was not known, as of programs that were installed since. 0: not known. */
extern int	version_major(const PgInstance *pg);

/* The major of the server that made the data directory; 0: not known, or there is none. */
extern int	version_of_data(const PgInstance *pg);

/* The major in what "postgres --version" says; 0: none is told. */
extern int	version_parse(const char *text);

#endif							/* PINGPONG_AGENT_PG_VERSION_H */
