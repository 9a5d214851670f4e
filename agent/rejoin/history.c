/*
 * history.c
 *		A timeline's history file as text.  No I/O.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/rejoin/history.h"

typedef struct HistoryLine
{
	unsigned	timeline;
	unsigned long long left_at;
} HistoryLine;

/* The next one that says something, and *text is after it; false: there is none. */
static bool
history_next(const char **text, HistoryLine *line)
{
	while (**text)
	{
		const char *begin = *text;
		char	   *end;
		unsigned	high,
					low;

		*text += strcspn(*text, "\n");
		*text += strspn(*text, "\n");	/* there are empty lines between them */
		line->timeline = (unsigned) strtoul(begin, &end, 10);
		if (end != begin && *end == '\t' && sscanf(end + 1, "%X/%X", &high, &low) == 2)
		{
			line->left_at = (unsigned long long) high << 32 | low;
			return true;
		}
	}
	return false;
}

unsigned long long
history_left_at(const char *text, unsigned timeline)
{
	HistoryLine line;

	while (history_next(&text, &line))
		if (line.timeline == timeline)
			return line.left_at;
	return 0;
}

bool
history_agrees(const char *a, const char *b, unsigned timeline)
{
	HistoryLine one = {0};
	HistoryLine other = {0};

	for (;;)
	{
		bool		more = history_next(&a, &one) && one.timeline != timeline;
		bool		other_more = history_next(&b, &other) && other.timeline != timeline;

		if (!more || !other_more)
			return more == other_more;
		if (one.timeline != other.timeline || one.left_at != other.left_at)
			return false;
	}
}
