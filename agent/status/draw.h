/*
 * draw.h
 *		A run's steps as text: pure functions, tested by test/unit_status.c.
 */
#ifndef PINGPONG_AGENT_STATUS_DRAW_H
#define PINGPONG_AGENT_STATUS_DRAW_H

#include <stddef.h>

#include "agent/core/text.h"
#include "agent/status/rows.h"

/* "34 ms", "4.7 s", "3 min 10 s", "2 h 05 min"; "" for less than 0. */
extern void draw_duration(char *to, size_t size, double ms);

/* One line: control characters, which could move a terminal's cursor, become blanks. */
extern void draw_plain(Text *to, const char *text);

/* Columns with a head; of more than `limit` rows the last ones, and how many others there are. limit 0: all. */
extern void draw_rows(Text *to, const Row *rows, int n, int limit);

/* What failed, and why: several lines each. */
extern void draw_errors(Text *to, const Row *rows, int n);

extern int	draw_lines(const Text *text);

/* Each line at most so wide, in characters. */
extern void draw_cut(Text *to, const char *text, int width);

#endif							/* PINGPONG_AGENT_STATUS_DRAW_H */
