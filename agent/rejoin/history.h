/*
 * history.h
 *		A timeline's history file as text; pure functions, tested by test/unit.c.
 */
#ifndef PINGPONG_AGENT_REJOIN_HISTORY_H
#define PINGPONG_AGENT_REJOIN_HISTORY_H

#include <stdbool.h>

/* Where, by the text of a history file, a timeline was left; 0: it is not in there. */
extern unsigned long long history_left_at(const char *text, unsigned timeline);

/*
 * Do both name the same ancestors of that timeline, left at the same places? (A timeline's own history ends before
 * it.)
 */
extern bool history_agrees(const char *a, const char *b, unsigned timeline);

#endif							/* PINGPONG_AGENT_REJOIN_HISTORY_H */
