/*
 * own.c
 *		The alerts that this agent raises itself.
 *
 * The list holds messages; "sent" (the state that was delivered last) and "sent_ms" are of the list and not sent.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/alert/message.h"
#include "agent/alert/own.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"

#define FILE_MAX (1 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static json_t *list;
static char *path;
static bool full;				/* and it was logged */

static const char *
text_of(const json_t *message, const char *key)
{
	const char *text = json_string_value(json_object_get(message, key));

	return text ? text : "";
}

static bool
is_open(const json_t *message)
{
	return strcmp(text_of(message, "state"), "raised") == 0;
}

/* The caller holds the lock. A list that cannot be written is still told from memory. */
static void
save(void)
{
	static bool told = false;
	char	   *text = json_dumps(list, JSON_INDENT(1));
	bool		failed = file_write_atomic(path, text, strlen(text), 0600, true) < 0;

	if (failed && !told)
		log_error("could not write \"%s\": %s", path, strerror(errno));
	told = failed;
	free(text);
}

void
own_start(const char *state_dir)
{
	char	   *text;

	path = xasprintf("%s/alerts.json", state_dir);
	text = file_read(path, FILE_MAX, NULL);
	list = text ? json_loads(text, 0, NULL) : NULL;
	if (text && !json_is_array(list))
		log_error("\"%s\" is no list of alerts: it begins anew", path);
	if (!json_is_array(list))
	{
		json_decref(list);
		list = json_array();
	}
	free(text);
}

/* The open one; -1: none. */
static int
find_open(const char *rule, const char *subject)
{
	for (size_t i = 0; i < json_array_size(list); i++)
	{
		json_t	   *message = json_array_get(list, i);

		if (is_open(message) && strcmp(text_of(message, "alert"), rule) == 0 &&
			strcmp(text_of(message, "subject"), subject) == 0)
			return (int) i;
	}
	return -1;
}

bool
own_is_open(const char *rule, const char *subject)
{
	bool		found;

	pthread_mutex_lock(&lock);
	found = find_open(rule, subject) >= 0;
	pthread_mutex_unlock(&lock);
	return found;
}

void
own_raise(json_t *message)
{
	pthread_mutex_lock(&lock);
	if (find_open(text_of(message, "alert"), text_of(message, "subject")) >= 0)
		json_decref(message);
	else if (json_array_size(list) >= OWN_MAX)
	{
		if (!full)
			log_error("alerts are lost, there are %d already: %s", OWN_MAX, text_of(message, "sentence"));
		full = true;
		json_decref(message);
	}
	else
	{
		log_warning("alert raised: %s", text_of(message, "sentence"));
		json_array_append_new(list, message);
		full = false;
		save();
	}
	pthread_mutex_unlock(&lock);
}

void
own_clear(const char *rule, const char *subject)
{
	int			i;

	pthread_mutex_lock(&lock);
	i = find_open(rule, subject);
	if (i >= 0)
	{
		json_t	   *message = json_array_get(list, i);

		log_info("alert cleared: %s", text_of(message, "key"));
		json_object_set_new(message, "state", json_string("cleared"));
		json_object_set_new(message, "cleared_at", message_moment(clock_realtime_ms()));
		if (!json_object_get(message, "sent"))
			json_array_remove(list, i);
		save();
	}
	pthread_mutex_unlock(&lock);
}

static bool
is_due(const json_t *message, double repeat_ms)
{
	double		sent_ms = json_number_value(json_object_get(message, "sent_ms"));

	if (strcmp(text_of(message, "sent"), text_of(message, "state")) != 0)
		return true;
	return is_open(message) && repeat_ms > 0 && clock_realtime_ms() >= sent_ms + repeat_ms;
}

json_t *
own_due(int skip, double repeat_ms)
{
	json_t	   *due = NULL;
	json_t	   *message;
	size_t		i;

	pthread_mutex_lock(&lock);
	json_array_foreach(list, i, message)
		if (is_due(message, repeat_ms) && skip-- == 0)
		{
			due = json_copy(message);
			json_object_del(due, "sent");
			json_object_del(due, "sent_ms");
			break;
		}
	pthread_mutex_unlock(&lock);
	return due;
}

void
own_sent(const json_t *sent)
{
	json_t	   *message;
	size_t		i;

	pthread_mutex_lock(&lock);
	json_array_foreach(list, i, message)
		if (strcmp(text_of(message, "id"), text_of(sent, "id")) == 0)
		{
			json_object_set_new(message, "sent", json_string(text_of(sent, "state")));
			json_object_set_new(message, "sent_ms", json_real(clock_realtime_ms()));
			if (strcmp(text_of(sent, "state"), "cleared") == 0)
				json_array_remove(list, i);
			save();
			break;
		}
	pthread_mutex_unlock(&lock);
}
