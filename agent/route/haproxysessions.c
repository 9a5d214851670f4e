/*
 * haproxysessions.c
 *		The sessions that HAProxy keeps with servers of before, and their end.
 */
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/job/params.h"
#include "agent/route/haproxysessions.h"
#include "agent/route/runtime.h"

#define FAREWELL_MS 400			/* the server ends its sessions itself in that time, and tells its clients why */
#define SHUT_MS 2000			/* and what was shut down is gone then */
#define LOOK_AGAIN_MS 50
#define COMMANDS_MAX 4000		/* bytes of one line; HAProxy's buffer has 16 kB */

/* The value of NAME=... among the words of a line, malloc'd; NULL: there is none. */
static char *
word_value(char *const *words, const char *name)
{
	size_t		len = strlen(name);

	for (int i = 0; words && words[i]; i++)
		if (strncmp(words[i], name, len) == 0 && words[i][len] == '=')
			return xstrdup(words[i] + len + 1);
	return NULL;
}

/* Is the session one with a server that leads to none of the places?  Of all servers, where places is NULL. */
static bool
is_elsewhere(json_t *table, json_t *databases, json_t *places, const char *backend, const char *server)
{
	json_t	   *row;
	size_t		i;

	if (!backend || !server || !json_object_get(databases, backend))
		return false;
	json_array_foreach(table, i, row)
		if (strcmp(runtime_cell(row, "be_name"), backend) == 0 && strcmp(runtime_cell(row, "srv_name"), server) == 0)
			return !places || !runtime_leads_to_one_of(row, places);
	return false;
}

json_t *
haproxy_sessions_elsewhere(const ConfigSection *section, json_t *table, json_t *databases, json_t *places, char *why,
				   size_t why_size)
{
	char	   *answer = runtime_ask(section, "show sess\n", why, why_size);
	json_t	   *found = answer ? json_object() : NULL;
	char	   *rest = answer;
	char	   *line;

	while (rest && (line = strsep(&rest, "\n")) != NULL)
	{
		char	  **words = strncmp(line, "0x", 2) == 0 ? text_split_words(line) : NULL;
		char	   *backend = word_value(words, "be");
		char	   *server = word_value(words, "srv");
		char	   *client = word_value(words, "src");

		if (client && is_elsewhere(table, databases, places, backend, server))
		{
			words[0][strcspn(words[0], ":")] = '\0';
			json_object_set_new(found, words[0], json_string(client));
		}
		free(backend);
		free(server);
		free(client);
		text_free_list(words);
	}
	free(answer);
	return found;
}

/* Those of the list that are still there. */
static json_t *
still_there(json_t *before, json_t *now)
{
	json_t	   *left = json_object();
	const char *id;
	json_t	   *client;

	json_object_foreach(before, id, client)
		if (json_equal(client, json_object_get(now, id)))
			json_object_set(left, id, client);
	return left;
}

static void
shut(const ConfigSection *section, json_t *sessions)
{
	Text		line = {0};
	char		why[512];
	const char *id;
	json_t	   *unused;

	json_object_foreach(sessions, id, unused)
	{
		runtime_next_command(&line);
		text_addf(&line, "shutdown session %s", id);
		if (line.size < COMMANDS_MAX)
			continue;
		text_addf(&line, "\n");
		free(runtime_ask(section, line.data, why, sizeof(why)));
		free(line.data);
		line = (Text) {0};
	}
	text_addf(&line, "\n");
	free(runtime_ask(section, line.data, why, sizeof(why)));
	free(line.data);
}

void
haproxy_end_sessions(ActionContext *ctx, json_t *params)
{
	const ConfigSection *section = config_section(ctx->config, "haproxy",
												  param_string(params, "endpoint", ""));
	double		began = clock_monotonic_ms();
	json_t	   *left = json_incref(json_object_get(params, "sessions"));
	char		why[512];

	while (section && json_object_size(left) > 0 && clock_monotonic_ms() - began < FAREWELL_MS + SHUT_MS)
	{
		json_t	   *table;
		json_t	   *now;
		json_t	   *rest;

		sleep_ms(LOOK_AGAIN_MS);
		if (clock_monotonic_ms() - began >= FAREWELL_MS)
			shut(section, left);
		table = runtime_servers(section, why, sizeof(why));
		now = table ? haproxy_sessions_elsewhere(section, table, json_object_get(params, "databases"), NULL, why,
										 sizeof(why)) : NULL;
		rest = now ? still_there(left, now) : json_incref(left);
		json_decref(left);
		left = rest;
		json_decref(now);
		json_decref(table);
	}
	if (json_object_size(left) > 0)
		log_warning("HAProxy \"%s\": %zu sessions with another server could not be ended",
					param_string(params, "endpoint", ""), json_object_size(left));
	json_decref(left);
}
