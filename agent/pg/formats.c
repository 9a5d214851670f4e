/*
 * formats.c
 *		PostgreSQL's own formats as text: its settings file, an LSN, a literal.  No I/O.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/core/text.h"
#include "agent/pg/formats.h"

/* Is this line of a configuration file "name = ..." (the "=" is optional)?  Returns what follows it. */
static const char *
line_setting(const char *line, const char *name)
{
	size_t		len = strlen(name);

	line += strspn(line, " \t");
	if (strncasecmp(line, name, len) != 0 || (line[len] != '=' && !isblank((unsigned char) line[len])))
		return NULL;
	line += len;
	line += strspn(line, " \t");
	if (*line == '=')
		line++;
	return line + strspn(line, " \t");
}

static const char *
next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end ? end + 1 : line + strlen(line);
}

/* Inside '...' of a configuration file or an E'' literal */
static void
add_escaped(Text *out, char c)
{
	if (c == '\'' || c == '\\')
		text_add(out, &c, 1);
	text_add(out, &c, 1);
}

/* The settings go to the end, where they win; earlier lines for them are dropped, all else is kept. */
char *
conf_rewrite(const char *text, const ConfSetting *settings, int n)
{
	Text		out = {0};

	text_add(&out, "", 0);
	for (const char *line = text; *line; line = next_line(line))
	{
		bool		drop = false;

		for (int i = 0; i < n && !drop; i++)
			drop = line_setting(line, settings[i].name) != NULL;
		if (!drop)
			text_add(&out, line, next_line(line) - line);
	}
	if (out.size > 0 && out.data[out.size - 1] != '\n')
		text_add(&out, "\n", 1);
	for (int i = 0; i < n; i++)
	{
		if (!settings[i].value)
			continue;
		text_addf(&out, "%s = '", settings[i].name);
		for (const char *p = settings[i].value; *p; p++)
			add_escaped(&out, *p);
		text_add(&out, "'\n", 2);
	}
	return out.data;
}

static char *
unquote(const char *value)
{
	Text		out = {0};
	size_t		len = strcspn(value, "\r\n");

	text_add(&out, "", 0);
	if (*value != '\'')
	{
		len = strcspn(value, " \t\r\n#");
		text_add(&out, value, len);
		return out.data;
	}
	for (size_t i = 1; i < len; i++)
	{
		if (value[i] == '\\' && i + 1 < len)
			i++;
		else if (value[i] == '\'')
		{
			if (value[i + 1] != '\'')
				break;
			i++;
		}
		text_add(&out, value + i, 1);
	}
	return out.data;
}

char *
conf_value(const char *text, const char *name)
{
	char	   *found = NULL;

	for (const char *line = text; *line; line = next_line(line))
	{
		const char *value = line_setting(line, name);

		if (!value)
			continue;
		free(found);
		found = unquote(value);
	}
	return found;
}

bool
lsn_parse(const char *text, unsigned long long *lsn)
{
	unsigned int high,
				low;
	int			used = 0;

	if (!text || sscanf(text, "%8X/%8X%n", &high, &low, &used) != 2 || text[used])
		return false;
	*lsn = (unsigned long long) high << 32 | low;
	return true;
}

char *
sql_literal(const char *text)
{
	Text		out = {0};

	text_add(&out, strchr(text, '\\') ? " E'" : "'", strchr(text, '\\') ? 3 : 1);
	for (; *text; text++)
		add_escaped(&out, *text);
	text_add(&out, "'", 1);
	return out.data;
}
