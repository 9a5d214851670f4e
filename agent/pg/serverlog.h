/*
 * serverlog.h
 *		What the local server has logged since its last start, in any place that it may log to.
 *
 * These places are read: the option "log" (what pg_ctl writes to), Debian's log of the cluster, and the files that
 * DATA/current_logfiles names, if the server has written that file since the start. Of a file that was there at the
 * start only the new part counts. Of another one the part after the words of a start counts.
 */
#ifndef PINGPONG_AGENT_PG_SERVERLOG_H
#define PINGPONG_AGENT_PG_SERVERLOG_H

#include "agent/core/config.h"

/* Right before a start: from here on words of this instance count. One start of a server at a time. */
extern void serverlog_mark(const PgInstance *pg);

/* The last FATAL or PANIC, but for what clients were told, malloc'd; NULL: not known. */
extern char *serverlog_last_words(const PgInstance *pg);

/* Does one of them say that the data or the WAL cannot be used, so that another copy of them would help? */
extern bool serverlog_blames_data(const PgInstance *pg);

/*
 * The parts that are pure. The complaint in a line (stderr, csvlog or jsonlog) from its severity on, malloc'd; NULL:
 * none.
 */
extern char *serverlog_complaint(const char *line);
extern bool serverlog_is_about_data(const char *complaint);

#endif							/* PINGPONG_AGENT_PG_SERVERLOG_H */
