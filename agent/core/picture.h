/*
 * picture.h
 *		What pingpong.snapshot() of the main instance said last: for metrics and the status page, which ask no server.
 *
 * One thread refreshes it (pg/watcher.c), and only while somebody asks.
 */
#ifndef PINGPONG_AGENT_CORE_PICTURE_H
#define PINGPONG_AGENT_CORE_PICTURE_H

#include <jansson.h>
#include <stdbool.h>

#define PICTURE_EACH_MS 1000	/* how often it is refreshed */

typedef struct Picture
{
	int			references;		/* managed by picture_current() and picture_release() */
	char	   *text;			/* JSON, as the server gave it */
	json_t	   *json;			/* the same; many threads read it, none may change it */
	double		seen_ms;		/* CLOCK_REALTIME */
	double		seen_at;		/* CLOCK_MONOTONIC, ms */
	double		took_ms;
} Picture;

/* How good it is */
typedef struct PictureNews
{
	bool		fresh;			/* it may be shown as the present state */
	double		silent_since_ms;	/* CLOCK_REALTIME: since when each look has failed; 0: the last one has not */
	char		problem[256];	/* why the last look failed; "" */
	long		reads;			/* looks that succeeded, since the start */
	long		failures;		/* and that did not */
} PictureNews;

/* The last one, with a reference; NULL: there was none yet.  Whoever asks keeps it refreshed for some minutes. */
extern Picture *picture_current(PictureNews *news);
extern void picture_release(Picture *picture);	/* NULL is fine */

/* For the thread that looks.  picture_put() takes the text over; false: it is no JSON, and counts as a failure. */
extern bool picture_put(char *text, double took_ms);
extern void picture_failed(const char *why);
extern bool picture_is_wanted(void);	/* has somebody asked lately? */
extern void picture_await_wish(void);	/* waits until somebody asks */

#endif							/* PINGPONG_AGENT_CORE_PICTURE_H */
