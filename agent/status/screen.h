/*
 * screen.h
 *		Text on standard output that is drawn again in its place.
 */
#ifndef PINGPONG_AGENT_STATUS_SCREEN_H
#define PINGPONG_AGENT_STATUS_SCREEN_H

#include <stdbool.h>

extern bool screen_is_terminal(void);	/* one that can draw in place */
extern int	screen_height(void);

/* In the place of what was drawn before, cut to the width of the terminal. */
extern void screen_draw(const char *text);

/* What was drawn before is gone; what is printed next takes its place. */
extern void screen_clear(void);

#endif							/* PINGPONG_AGENT_STATUS_SCREEN_H */
