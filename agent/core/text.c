/*
 * text.c
 *		Lists of words and growing strings.  No I/O.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/text.h"

void
text_add(Text *text, const char *data, size_t size)
{
	char	   *grown = realloc(text->data, text->size + size + 1);

	if (!grown)
		abort();
	memcpy(grown + text->size, data, size);
	text->data = grown;
	text->size += size;
	grown[text->size] = '\0';
}

void
text_addf(Text *text, const char *format,...)
{
	va_list		args;
	char	   *piece = NULL;
	int			n;

	va_start(args, format);
	n = vasprintf(&piece, format, args);
	va_end(args);
	if (n < 0)
		abort();
	text_add(text, piece, n);
	free(piece);
}

int
text_list_length(char *const *list)
{
	int			n = 0;

	while (list && list[n])
		n++;
	return n;
}

void
text_append(char ***list, char *item)
{
	int			n = text_list_length(*list);

	*list = realloc(*list, sizeof(char *) * (n + 2));
	if (!*list)
		abort();
	(*list)[n] = item;
	(*list)[n + 1] = NULL;
}

void
text_append_list(char ***list, char **more)
{
	for (int i = 0; more && more[i]; i++)
		text_append(list, more[i]);
	free(more);
}

void
text_free_list(char **list)
{
	for (int i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

char **
text_split_words(const char *text)
{
	char	  **list = NULL;

	for (;;)
	{
		Text		word = {0};
		char		quote = 0;

		text += strspn(text, " \t");
		if (!*text)
			return list;
		text_add(&word, "", 0);
		for (; *text && (quote || !isblank((unsigned char) *text)); text++)
		{
			if (quote ? *text == quote : (*text == '\'' || *text == '"'))
				quote = quote ? 0 : *text;
			else
				text_add(&word, text, 1);
		}
		text_append(&list, word.data);
	}
}

char **
text_split_list(const char *text, char separator)
{
	char	  **list = NULL;

	while (*text)
	{
		const char *end = strchr(text, separator);
		size_t		len;

		if (!end)
			end = text + strlen(text);
		text += strspn(text, " \t");
		len = end > text ? end - text : 0;
		while (len > 0 && isblank((unsigned char) text[len - 1]))
			len--;
		if (len > 0)
			text_append(&list, strndup(text, len));
		text = *end ? end + 1 : end;
	}
	return list;
}
