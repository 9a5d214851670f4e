/*
 * text.h
 *		Lists of words and growing strings; pure functions, tested by test/unit.c.
 */
#ifndef PINGPONG_AGENT_CORE_TEXT_H
#define PINGPONG_AGENT_CORE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* NULL-terminated lists of strings, all malloc'd */
extern char **text_split_words(const char *text);	/* blanks separate; '..' and ".." keep them */
extern char **text_split_list(const char *text, char separator);	/* trimmed, empty parts left out */
extern void text_append(char ***list, char *word);	/* takes the word over */
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

#endif							/* PINGPONG_AGENT_CORE_TEXT_H */
