/*
 * text.h
 *		Lists of words, and the formats that we rewrite; pure functions, tested by test/unit.c.
 */
#ifndef PINGPONG_AGENT_CORE_TEXT_H
#define PINGPONG_AGENT_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* NULL-terminated lists of strings, all malloc'd */
extern char **text_split_words(const char *text);	/* blanks separate; '..' and ".." keep them */
extern char **text_split_list(const char *text, char separator);	/* trimmed, empty parts left out */
extern void text_append_list(char ***list, char **more);	/* takes the strings and the list over */
extern void text_free_list(char **list);
extern int	text_list_length(char *const *list);

/* A growing string */
typedef struct Text
{
	char	   *data;			/* NULL while empty */
	size_t		size;
} Text;

extern void text_add(Text *text, const char *data, size_t size);
extern void text_addf(Text *text, const char *format,...) __attribute__((format(printf, 2, 3)));

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

#endif							/* PINGPONG_AGENT_CORE_TEXT_H */
