/*
 * picture.c
 *		What pingpong.snapshot() of the main instance said last.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/picture.h"

#define WANTED_MS 300000		/* Prometheus asks each minute at the latest */
#define FRESH_MS 5000			/* a look, its time-out, and some more */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wished = PTHREAD_COND_INITIALIZER;
static Picture *present;
static PictureNews present_news;
static double wished_at = -WANTED_MS;	/* CLOCK_MONOTONIC, ms */

/* The lock is held. */
static void
drop(Picture *picture)
{
	if (!picture || --picture->references > 0)
		return;
	json_decref(picture->json);
	free(picture->text);
	free(picture);
}

Picture *
picture_current(PictureNews *news)
{
	double		now = clock_monotonic_ms();
	Picture    *picture;

	pthread_mutex_lock(&lock);
	wished_at = now;
	pthread_cond_signal(&wished);
	picture = present;
	if (picture)
		picture->references++;
	*news = present_news;
	news->fresh = picture && news->silent_since_ms == 0 && now - picture->seen_at <= FRESH_MS;
	pthread_mutex_unlock(&lock);
	return picture;
}

void
picture_release(Picture *picture)
{
	pthread_mutex_lock(&lock);
	drop(picture);
	pthread_mutex_unlock(&lock);
}

bool
picture_put(char *text, double took_ms)
{
	json_t	   *json = json_loads(text, 0, NULL);
	Picture    *picture;

	if (!json_is_object(json))
	{
		json_decref(json);
		free(text);
		picture_failed("pingpong.snapshot() gave no JSON object");
		return false;
	}
	picture = xalloc(sizeof(Picture));
	*picture = (Picture) {1, text, json, clock_realtime_ms(), clock_monotonic_ms(), took_ms};
	pthread_mutex_lock(&lock);
	drop(present);
	present = picture;
	present_news.silent_since_ms = 0;
	present_news.problem[0] = '\0';
	present_news.reads++;
	pthread_mutex_unlock(&lock);
	return true;
}

void
picture_failed(const char *why)
{
	pthread_mutex_lock(&lock);
	if (present_news.silent_since_ms == 0)
		present_news.silent_since_ms = clock_realtime_ms();
	snprintf(present_news.problem, sizeof(present_news.problem), "%s", why);
	present_news.failures++;
	pthread_mutex_unlock(&lock);
}

bool
picture_is_wanted(void)
{
	bool		wanted;

	pthread_mutex_lock(&lock);
	wanted = clock_monotonic_ms() - wished_at < WANTED_MS;
	pthread_mutex_unlock(&lock);
	return wanted;
}

void
picture_await_wish(void)
{
	pthread_mutex_lock(&lock);
	while (clock_monotonic_ms() - wished_at >= WANTED_MS)
		pthread_cond_wait(&wished, &lock);
	pthread_mutex_unlock(&lock);
}
