/*
 * address.c
 *		The route driver for a floating address: [address.ENDPOINT] on each host that may have it.
 *
 * The route has an endpoint for each of these hosts, all with the same section; its database is the section's name.
 * An order goes to all of them: the host of the place takes the address, each other one drops it. Who takes it asks
 * the network first, and waits as long as somebody else answers: two never have it, in whatever order the orders
 * arrive, also when a host did not get its own. Each tells whether it is the place (prepare: "here", commit:
 * "serves"), so that the worker knows when none is. What is done to the host is in floating.c.
 *
 * A host that does not have it tells where the last order sent it, as long as somebody answers for it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/route/driver.h"
#include "agent/route/floating.h"
#include "agent/route/order.h"
#include "common/sqlstate.h"

#define TIMEOUT_MS 20000		/* taking it may wait for another host that drops it */
#define LONG_SILENCE 10			/* times "silence_ms" */
#define SILENCE_MS 30			/* "silence_ms" where that is not set */

/* ---- configuration ---- */

static bool
option_valid(const char *key, const char *value, char *error, size_t error_size)
{
	if (strcmp(key, "port") == 0 && !config_number(value, 1, 65535))
		snprintf(error, error_size, "needs a number from 1 to 65535 as \"port\"");
	else if (strcmp(key, "silence_ms") == 0 && !config_number(value, 1, 10000))
		snprintf(error, error_size, "needs a number from 1 to 10000 as \"silence_ms\"");
	else if (strcmp(key, "command") == 0 && value[0] != '/')
		snprintf(error, error_size, "needs the absolute path of a program as \"command\"");
	else if (strcmp(key, "address") != 0 && strcmp(key, "device") != 0 && strcmp(key, "host") != 0 &&
			 strcmp(key, "port") != 0 && strcmp(key, "silence_ms") != 0 && strcmp(key, "command") != 0)
		snprintf(error, error_size, "has the unknown option \"%s\"", key);
	else
		return true;
	return false;
}

static bool
valid(const ConfigSection *section, char *error, size_t error_size)
{
	static const char *const needed[] = {"address", "device", "host", "port", NULL};
	LinkAddress address;

	for (int i = 0; i < section->n; i++)
		if (!option_valid(section->keys[i], section->values[i], error, error_size))
			return false;
	for (int i = 0; needed[i]; i++)
		if (!config_value(section, needed[i]))
		{
			snprintf(error, error_size, "needs the option \"%s\"", needed[i]);
			return false;
		}
	if (link_parse(config_value(section, "device"), config_value(section, "address"), &address))
		return true;
	snprintf(error, error_size, "needs ADDRESS/PREFIX as \"address\", and the name of an interface as \"device\"");
	return false;
}

/* ---- what is done to the host ---- */

static int
silence_of(const ConfigSection *section)
{
	const char *value = config_value(section, "silence_ms");

	return value ? atoi(value) : SILENCE_MS;
}

/* By the program "command" (COMMAND address VERB DEVICE ADDRESS/PREFIX MS); said is its last line. */
static int
do_by_program(const ConfigSection *section, const char *verb, int silence_ms, char *said, size_t size)
{
	char	   *silence = xasprintf("%d", silence_ms);
	const char *words[] = {"address", verb, config_value(section, "device"), config_value(section, "address"),
	silence};
	char	  **argv = text_split_words(config_value(section, "command"));
	int			rc;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		text_append(&argv, xstrdup(words[i]));
	rc = child_run_text(argv, TIMEOUT_MS, said, size);
	said[strcspn(said, "\n")] = '\0';
	if (rc != 0 && !*said)
		snprintf(said, size, "\"%s\" failed", argv[0]);
	text_free_list(argv);
	free(silence);
	return rc == 0 ? 0 : -1;
}

/* 0, or -1; said: what there is to say of it, or why it could not be done. */
static int
do_for(const ConfigSection *section, const char *verb, int silence_ms, char *said, size_t size)
{
	LinkAddress address;

	if (config_value(section, "command"))
		return do_by_program(section, verb, silence_ms, said, size);
	link_parse(config_value(section, "device"), config_value(section, "address"), &address);
	return floating_do(verb, &address, silence_ms, said, size);
}

static int
do_here(const ConfigSection *section, const char *verb, char *said, size_t size)
{
	return do_for(section, verb, silence_of(section), said, size);
}

/* That nobody has it is believed only after a longer silence: a busy host answers late, and nobody waits for this. */
static int
look_around(const ConfigSection *section, char *said, size_t size)
{
	int			rc = do_here(section, "look", said, size);

	return rc == 0 && strcmp(said, "free") == 0 ?
		do_for(section, "look", LONG_SILENCE * silence_of(section), said, size) : rc;
}

/* ---- where the last order sent it ---- */

static char *
sent_path(const AgentConfig *config, const ConfigSection *section)
{
	return xasprintf("%s/address/%s.json", config->state_dir, section->name);
}

/* It tells a person, and preflight, where the address is; without it they are told that nobody knows. */
static void
remember(const AgentConfig *config, const ConfigSection *section, const char *host, int64_t port)
{
	json_t	   *record = json_pack("{s:s, s:I}", "host", host, "port", (json_int_t) port);
	char	   *text = json_dumps(record, JSON_COMPACT);
	char	   *directory = xasprintf("%s/address", config->state_dir);
	char	   *path = sent_path(config, section);

	if (make_directory(directory, 0700) < 0 || file_write_atomic(path, text, strlen(text), 0600, false) < 0)
		log_warning("could not write \"%s\"", path);
	free(path);
	free(directory);
	free(text);
	json_decref(record);
}

static json_t *
remembered(const AgentConfig *config, const ConfigSection *section)
{
	char	   *path = sent_path(config, section);
	char	   *text = file_read(path, 4096, NULL);
	json_t	   *record = text ? json_loads(text, 0, NULL) : NULL;

	free(text);
	free(path);
	return record;
}

/* ---- orders ---- */

/* Is this host the place? */
static bool
is_here(const ConfigSection *section, const char *host, int64_t port)
{
	return strcmp(config_value(section, "host"), host) == 0 && atoi(config_value(section, "port")) == port;
}

static json_t *
row_of(const AgentConfig *config, const ConfigSection *section, const char *said)
{
	json_t	   *row = json_pack("{s:s}", "name", section->name);
	bool		own = strncmp(said, "own", 3) == 0;
	json_t	   *sent = !own && strncmp(said, "other", 5) == 0 ? remembered(config, section) : NULL;
	const char *host = own ? config_value(section, "host") : param_string(sent, "host", "");
	int64_t		port = own ? atoi(config_value(section, "port")) : param_int(sent, "port", 0);

	/* what was sent here and is not here is nowhere */
	if (*host && port > 0 && (own || !is_here(section, host, port)))
		json_object_update_new(row, json_pack("{s:s, s:I}", "host", host, "port", (json_int_t) port));
	json_object_set_new(row, "seen", json_string(said));
	json_decref(sent);
	return row;
}

static int
observe(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, address_driver.name);
	char		said[256];

	if (!section)
		return -1;
	if (look_around(section, said, sizeof(said)) < 0)
		return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"address.%s\": %s", section->name, said);
	if (strncmp(said, "own other", 9) == 0)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the address %s is here and at %s, too",
						   config_value(section, "address"), said + strlen("own other "));
	json_object_set_new(result, "version", json_string(address_driver.name));
	json_object_set_new(result, "databases", json_pack("[o]", row_of(ctx->config, section, said)));
	return 0;
}

static int
prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, address_driver.name);
	json_t	   *seen = json_object();
	json_t	   *databases = json_object();
	const char *name;
	json_t	   *unused;
	int			rc = section ? observe(ctx, params, seen) : -1;

	json_object_foreach(json_object_get(params, "databases"), name, unused)
	{
		if (rc == 0 && strcmp(name, section->name) != 0)
		{
			rc = action_fail(ctx, STATE_UNKNOWN_DATABASE, "endpoint \"address.%s\" has no database \"%s\"",
							 section->name, name);
			action_hint(ctx, "The database of such a route is the name of the section, \"%s\".", section->name);
		}
		json_object_set_new(databases, name, json_pack("{s:s}", "held_by", "gate"));
	}
	json_object_set(result, "databases", databases);
	if (section && *param_string(params, "host", ""))
		json_object_set_new(result, "here", json_boolean(is_here(section, param_string(params, "host", ""),
																 param_int(params, "port", 0))));
	json_decref(databases);
	json_decref(seen);
	return rc;
}

/* What takes its time, behind the answer. */
static void
say_farewell(ActionContext *ctx, json_t *params)
{
	const ConfigSection *section = config_section(ctx->config, address_driver.name,
												  param_string(params, "endpoint", ""));
	char		said[256];

	if (section && do_here(section, "farewell", said, sizeof(said)) < 0)
		log_warning("address \"%s\": %s", section->name, said);
}

static int
commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, address_driver.name);
	const char *host = param_string(params, "host", "");
	int64_t		port = param_int(params, "port", 0);
	bool		here = section && is_here(section, host, port);
	char		said[256];

	if (!section)
		return -1;
	if (!order_has_place(params))
		return order_no_place(ctx);
	if (do_here(section, here ? "take" : "drop", said, sizeof(said)) < 0)
		return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"address.%s\": %s", section->name, said);
	remember(ctx->config, section, host, port);
	json_object_set_new(result, "serves", json_boolean(here));
	action_afterwards(ctx, say_farewell, params);
	return 0;
}

/* ---- --check ---- */

static void
check(const ConfigSection *section, CheckSay say)
{
	char		said[256];
	int			rc = look_around(section, said, sizeof(said));

	say(rc == 0 && strncmp(said, "own other", 9) != 0, "route endpoint address.%s: %s on %s: %s", section->name,
		config_value(section, "address"), config_value(section, "device"), *said ? said : "no answer");
}

const RouteDriver address_driver = {
	.name = "address",
	.valid = valid,
	.check = check,
	.observe = observe,
	.prepare = prepare,
	.commit = commit,
};
