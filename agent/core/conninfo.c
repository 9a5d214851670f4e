/*
 * conninfo.c
 *		Connection strings: taken apart and put together by libpq's own parser.
 */
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/conninfo.h"
#include "agent/core/text.h"

static void
add_keyword(Text *out, const char *keyword, const char *value)
{
	text_addf(out, "%s%s=", out->size ? " " : "", keyword);
	if (*value && !value[strcspn(value, " \t\n'\\")])
	{
		text_add(out, value, strlen(value));
		return;
	}
	text_add(out, "'", 1);
	for (; *value; value++)
	{
		if (*value == '\'' || *value == '\\')
			text_add(out, "\\", 1);
		text_add(out, value, 1);
	}
	text_add(out, "'", 1);
}

static const char *
option_value(const PQconninfoOption *options, const char *keyword)
{
	for (; options && options->keyword; options++)
		if (strcmp(options->keyword, keyword) == 0)
			return options->val;
	return NULL;
}

/* hostaddr is dropped with host: it would win over the new host. */
char *
conninfo_merge(const char *base, const char *defaults, const char *host, const char *port,
			   const char *application_name)
{
	PQconninfoOption *first = PQconninfoParse(base, NULL);
	PQconninfoOption *second = defaults ? PQconninfoParse(defaults, NULL) : NULL;
	Text		out = {0};

	if (!first || (defaults && !second))
	{
		PQconninfoFree(first);
		PQconninfoFree(second);
		return NULL;
	}
	text_add(&out, "", 0);
	for (PQconninfoOption *option = first; option->keyword; option++)
	{
		const char *value = option->val ? option->val : option_value(second, option->keyword);

		if (host && strcmp(option->keyword, "host") == 0)
			value = host;
		else if (host && strcmp(option->keyword, "hostaddr") == 0)
			value = NULL;
		else if (port && strcmp(option->keyword, "port") == 0)
			value = port;
		else if (application_name && strcmp(option->keyword, "application_name") == 0)
			value = application_name;
		if (value)
			add_keyword(&out, option->keyword, value);
	}
	PQconninfoFree(first);
	PQconninfoFree(second);
	return out.data;
}

char *
conninfo_without(const char *conninfo, const char *keyword)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	Text		out = {0};

	text_add(&out, "", 0);
	for (PQconninfoOption *option = options; option && option->keyword; option++)
		if (option->val && strcmp(option->keyword, keyword) != 0)
			add_keyword(&out, option->keyword, option->val);
	PQconninfoFree(options);
	return out.data;
}

char *
conninfo_get(const char *conninfo, const char *keyword)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	const char *value = option_value(options, keyword);
	char	   *copy = value ? xstrdup(value) : NULL;

	PQconninfoFree(options);
	return copy;
}
