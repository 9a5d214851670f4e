/*
 * say.h
 *		The output of pingpong-agent init: one line for each thing.
 */
#ifndef PINGPONG_AGENT_INIT_SAY_H
#define PINGPONG_AGENT_INIT_SAY_H

typedef enum InitWord
{
	INIT_OK,					/* it is right already */
	INIT_MADE,
	INIT_WOULD,					/* be made without --dry-run */
	INIT_TODO,					/* left to a person, or to --apply */
	INIT_FAIL
} InitWord;

extern int	init_failures;		/* lines with "FAIL" */
extern int	init_todos;			/* lines with "todo" */

extern void init_say(InitWord word, const char *format,...) __attribute__((format(printf, 2, 3)));
extern void init_more(const char *format,...) __attribute__((format(printf, 1, 2)));	/* a line below that one */
extern void init_title(const char *title);

#endif							/* PINGPONG_AGENT_INIT_SAY_H */
