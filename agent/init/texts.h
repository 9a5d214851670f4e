/*
 * texts.h
 *		What init writes or shows, as text: agent.ini, the lines of pg_hba.conf, the SQL that registers all nodes.
 */
#ifndef PINGPONG_AGENT_INIT_TEXTS_H
#define PINGPONG_AGENT_INIT_TEXTS_H

#include "agent/init/host.h"

extern char *text_agent_ini(const InitHost *host, const InitOptions *options, bool tls);	/* malloc'd */

/*
 * The lines that let the other database hosts, and this one, log in as the roles of the agents; a list
 * (text_free_list). A host whose name is not known here is left out, and put into *unknown (borrowed; NULL: none is).
 */
extern char **text_hba_lines(const InitOptions *options, const char **unknown);

/* Can be run again: what is registered already is left alone; malloc'd. */
extern char *text_register_sql(const InitHost *host, const InitOptions *options);

/* Of DATABASE[=NAME]: how long the name of the database is; its settings for a route or PgBouncer's file, malloc'd */
extern int	text_database_length(const char *word);
extern char *text_database_settings(const char *word);

#endif							/* PINGPONG_AGENT_INIT_TEXTS_H */
