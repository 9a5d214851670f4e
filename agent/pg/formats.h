/*
 * formats.h
 *		PostgreSQL's own formats as text: its settings file, an LSN, a literal; pure functions, tested by test/unit.c.
 */
#ifndef PINGPONG_AGENT_PG_FORMATS_H
#define PINGPONG_AGENT_PG_FORMATS_H

#include <stdbool.h>

/* postgresql.auto.conf: a setting and its value (NULL: take the line out) */
typedef struct ConfSetting
{
	const char *name;
	const char *value;
} ConfSetting;

extern char *conf_rewrite(const char *text, const ConfSetting *settings, int n);	/* malloc'd */
extern char *conf_value(const char *text, const char *name);	/* the last one, unquoted, malloc'd; or NULL */

/* PostgreSQL's LSN */
extern bool lsn_parse(const char *text, unsigned long long *lsn);

/* An SQL literal in single quotes, malloc'd */
extern char *sql_literal(const char *text);

#endif							/* PINGPONG_AGENT_PG_FORMATS_H */
