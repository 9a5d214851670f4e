/*
 * draw.c
 *		A run's steps as text.
 *
 * What servers and programs have said is part of it, and goes to a terminal: it is UTF-8, and may hold anything.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/status/draw.h"
#include "common/protocol.h"

#define DURATION_SIZE 32
#define HEAD_LAST "last time"	/* an estimate, and named as what it is */

void
draw_duration(char *to, size_t size, double ms)
{
	long long	s = (long long) (ms / 1000);

	if (ms < 0)
		to[0] = '\0';
	else if (ms < 1000)
		snprintf(to, size, "%.0f ms", ms);
	else if (ms < 60000)
		snprintf(to, size, "%.1f s", ms / 1000);
	else if (s < 3600)
		snprintf(to, size, "%lld min %lld s", s / 60, s % 60);
	else
		snprintf(to, size, "%lld h %02lld min", s / 3600, s / 60 % 60);
}

void
draw_plain(Text *to, const char *text)
{
	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		bool		c1 = p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0;	/* the control characters of Latin-1 */

		if (c1)
			p++;
		if (c1 || *p < ' ' || *p == 0x7F)
			text_add(to, " ", 1);
		else
			text_add(to, (const char *) p, 1);
	}
}

static bool
continues(char c)
{
	return ((unsigned char) c & 0xC0) == 0x80;
}

void
draw_cut(Text *to, const char *text, int width)
{
	int			column = 0;

	for (; *text; text++)
	{
		if (*text == '\n')
			column = 0;
		else if (!continues(*text))
			column++;
		if (column <= width)
			text_add(to, text, 1);
	}
}

int
draw_lines(const Text *text)
{
	int			n = 0;

	for (size_t i = 0; i < text->size; i++)
		n += text->data[i] == '\n';
	return n;
}

/* ---- rows ---- */

/* Of each column but the last. */
typedef struct Widths
{
	int			step;
	int			node;
	int			state;
	int			time;
	int			last;			/* 0: nothing is known of it, so there is no such column */
} Widths;

static void
widen(int *width, const char *text)
{
	int			length = (int) strlen(text);

	if (length > *width)
		*width = length;
}

/* The least ones are such that a picture that is drawn again seldom moves. */
static Widths
widths_of(const Row *rows, int n)
{
	Widths		widths = {.step = 4, .node = 4, .state = 9, .time = 7};
	char		text[DURATION_SIZE];

	for (int i = 0; i < n; i++)
	{
		widen(&widths.step, rows[i].step);
		widen(&widths.node, rows[i].node);
		widen(&widths.state, rows[i].state);
		draw_duration(text, sizeof(text), rows[i].ms);
		widen(&widths.time, text);
		draw_duration(text, sizeof(text), rows[i].last_ms);
		if (*text)
			widen(&widths.last, HEAD_LAST);
		widen(&widths.last, text);
	}
	return widths;
}

static void
trim(Text *to)
{
	while (to->size > 0 && to->data[to->size - 1] == ' ')
		to->data[--to->size] = '\0';
}

static void
begin_row(Text *to, const Widths *widths, const char *step, const char *node, const char *state, const char *took,
		  const char *last)
{
	Text		line = {0};

	text_addf(&line, "  %-*s  %-*s  %-*s  %*s  ", widths->step, step, widths->node, node, widths->state, state,
			  widths->time, took);
	if (widths->last > 0)
		text_addf(&line, "%*s  ", widths->last, last);
	draw_plain(to, line.data);
	free(line.data);
}

static void
draw_row(Text *to, const Row *row, const Widths *widths)
{
	char		took[DURATION_SIZE];
	char		last[DURATION_SIZE];

	draw_duration(took, sizeof(took), row->ms);
	draw_duration(last, sizeof(last), row->last_ms);
	begin_row(to, widths, row->step, row->node, row->state, took, last);
	if (row->percent >= 0)
		text_addf(to, "%.0f %%  ", row->percent);
	draw_plain(to, row->progress);
	trim(to);
	text_add(to, "\n", 1);
}

void
draw_rows(Text *to, const Row *rows, int n, int limit)
{
	Widths		widths = widths_of(rows, n);
	int			first = limit > 0 && n > limit ? n - limit + 1 : 0;

	begin_row(to, &widths, "step", "node", "state", "time", HEAD_LAST);
	text_addf(to, "now\n");
	if (first > 0)
		text_addf(to, "  (%d more before)\n", first);
	for (int i = first; i < n; i++)
		draw_row(to, &rows[i], &widths);
}

static void
draw_field(Text *to, json_t *error, const char *name, const char *label)
{
	if (!*protocol_text(error, name))
		return;
	text_addf(to, "  %s: ", label);
	draw_plain(to, protocol_text(error, name));
	text_add(to, "\n", 1);
}

void
draw_errors(Text *to, const Row *rows, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!rows[i].error)
			continue;
		text_addf(to, "%s %s: ", rows[i].step, rows[i].node);
		draw_plain(to, protocol_text(rows[i].error, "message"));
		text_add(to, "\n", 1);
		draw_field(to, rows[i].error, "detail", "detail");
		draw_field(to, rows[i].error, "hint", "hint");
	}
}
