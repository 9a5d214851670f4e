/*
 * command.c
 *		The route driver for everything that has a command line: [command.ENDPOINT] names a program for each order,
 *		see driver.h.
 *
 * A program reads one JSON object: the parameters of the order, with "order" and "run". The last line of its output
 * that is a JSON object is its answer; the rest is the job's output. An exit status other than 0 is a failure. A
 * program may be run again for the same order, and may be killed: it must be possible to do its work twice.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/route/driver.h"
#include "agent/route/order.h"
#include "common/sqlstate.h"

#define TIMEOUT_MS 5000			/* "timeout_ms" of the endpoint, where that is not set */
#define TIMEOUT_MAX_MS 600000
#define ANSWER_MAX (64 * 1024)

static const char *const orders[] = {"observe", "prepare", "hold", "commit", "release", "undo", "smoke", NULL};

/* ---- configuration ---- */

static bool
is_order(const char *key)
{
	for (int i = 0; orders[i]; i++)
		if (strcmp(orders[i], key) == 0)
			return true;
	return false;
}

static int
timeout_of(const ConfigSection *section)
{
	const char *value = config_value(section, "timeout_ms");

	return value ? atoi(value) : TIMEOUT_MS;
}

static bool
option_valid(const char *key, const char *value, char *error, size_t error_size)
{
	if (strcmp(key, "timeout_ms") == 0)
	{
		if (config_number(value, 1, TIMEOUT_MAX_MS))
			return true;
		snprintf(error, error_size, "needs a number from 1 to %d as \"timeout_ms\"", TIMEOUT_MAX_MS);
	}
	else if (!is_order(key))
		snprintf(error, error_size, "has the unknown option \"%s\"", key);
	else if (value[0] != '/')
		snprintf(error, error_size, "needs the absolute path of a program as \"%s\"", key);
	else
		return true;
	return false;
}

static bool
valid(const ConfigSection *section, char *error, size_t error_size)
{
	for (int i = 0; i < section->n; i++)
		if (!option_valid(section->keys[i], section->values[i], error, error_size))
			return false;
	if (config_value(section, "commit") && config_value(section, "observe"))
		return true;
	snprintf(error, error_size, "needs the options \"commit\" and \"observe\"");
	return false;
}

static void
check(const ConfigSection *section, CheckSay say)
{
	for (int i = 0; orders[i]; i++)
	{
		const char *value = config_value(section, orders[i]);
		char	  **argv = value ? text_split_words(value) : NULL;

		if (argv)
			say(access(argv[0], X_OK) == 0, "route endpoint command.%s: %s runs %s", section->name, orders[i],
				argv[0]);
		text_free_list(argv);
	}
}

/* ---- running a program ---- */

typedef struct Output
{
	char		text[ANSWER_MAX + 1];
	size_t		size;
} Output;

/* What is beyond the room is not the answer of a program that keeps to its words. */
static void
keep(void *argument, const char *data, size_t size)
{
	Output	   *output = argument;
	size_t		room = ANSWER_MAX - output->size;

	size = size < room ? size : room;
	memcpy(output->text + output->size, data, size);
	output->size += size;
}

/* The last line that is a JSON object; NULL: there is none. */
static json_t *
answer_of(Output *output)
{
	char	   *rest = output->text;
	char	   *line;
	json_t	   *answer = NULL;

	output->text[output->size] = '\0';
	while ((line = strsep(&rest, "\n")) != NULL)
	{
		json_t	   *object = line[0] == '{' ? json_loads(line, JSON_REJECT_DUPLICATES, NULL) : NULL;

		if (!object)
			continue;
		json_decref(answer);
		answer = object;
	}
	return answer;
}

static char *
question(ActionContext *ctx, const char *order, json_t *params)
{
	json_t	   *object = json_copy(params);
	char	   *text;

	json_object_set_new(object, "order", json_string(order));
	json_object_set_new(object, "run", json_string(ctx->run));
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

/* NULL: there is none of that name. */
static const ConfigSection *
section_of(ActionContext *ctx, json_t *params)
{
	return config_section(ctx->config, command_driver.name, param_string(params, "endpoint", ""));
}

/* The program for the order, if there is one; what it answers goes into the result.  -1: the job has failed. */
static int
run_order(ActionContext *ctx, const char *order, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, command_driver.name);
	const char *value = section ? config_value(section, order) : NULL;
	ChildOptions options = {.on_output = keep};
	char	  **argv;
	char	   *input;
	json_t	   *answer;
	int			rc;

	if (!section)
		return -1;
	if (!value)
		return 0;
	input = question(ctx, order, params);
	argv = text_split_words(value);
	options.timeout_ms = timeout_of(section);
	options.input = input;
	options.argument = xalloc(sizeof(Output));
	rc = child_run_or_fail(ctx, argv, &options);
	answer = rc == 0 ? answer_of(options.argument) : NULL;
	if (answer)
		json_object_update(result, answer);
	json_decref(answer);
	free(options.argument);
	text_free_list(argv);
	free(input);
	return rc;
}

/* ---- orders ---- */

static int
observe(ActionContext *ctx, json_t *params, json_t *result)
{
	json_object_set_new(result, "version", json_string(command_driver.name));
	if (run_order(ctx, "observe", params, result) < 0)
		return -1;
	if (json_is_array(json_object_get(result, "databases")))
		return 0;
	return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"command.%s\" does not tell where its databases point",
					   param_string(params, "endpoint", ""));
}

/* Where a database points, as observe told; NULL: it did not tell. */
static json_t *
row_of(json_t *observed, const char *database)
{
	json_t	   *row;
	size_t		i;

	json_array_foreach(json_object_get(observed, "databases"), i, row)
		if (strcmp(param_string(row, "name", ""), database) == 0)
			return row;
	return NULL;
}

/* A port is a number, or a text that is one. */
static int64_t
port_of(json_t *row)
{
	json_t	   *port = json_object_get(row, "port");

	return json_is_string(port) ? atoll(json_string_value(port)) : json_integer_value(port);
}

/* Is the place in the list? */
static bool
has_place(json_t *places, json_t *place)
{
	json_t	   *other;
	size_t		i;

	json_array_foreach(places, i, other)
		if (strcmp(param_string(other, "host", ""), param_string(place, "host", "")) == 0 &&
			port_of(other) == port_of(place))
			return true;
	return false;
}

/* The row tells all of the places, and no other one; without "places" it has one. */
static bool
points_to(json_t *row, json_t *params)
{
	json_t	   *wanted = json_object_get(params, "places");
	json_t	   *places = json_object_get(row, "places");
	json_t	   *place;
	size_t		i;

	if (!wanted)
		return json_array_size(places) <= 1 && port_of(row) == param_int(params, "port", 0) &&
			strcmp(param_string(row, "host", ""), param_string(params, "host", "")) == 0;
	if (json_array_size(wanted) != json_array_size(places))
		return false;
	json_array_foreach(wanted, i, place)
		if (!has_place(places, place))
			return false;
	return true;
}

/* After it was told to point elsewhere, it is asked where it points. */
static int
look(ActionContext *ctx, json_t *params)
{
	const char *host = param_string(params, "host", "");
	int64_t		port = param_int(params, "port", 0);
	json_t	   *seen = json_object();
	int			rc = observe(ctx, params, seen);
	const char *database;
	json_t	   *unused;

	json_object_foreach(json_object_get(params, "databases"), database, unused)
	{
		json_t	   *row = row_of(seen, database);

		if (rc == 0 && !points_to(row, params))
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "database \"%s\" of endpoint \"command.%s\" points to %s:%lld, not to %s:%lld",
							 database, param_string(params, "endpoint", ""), param_string(row, "host", "nowhere"),
							 (long long) port_of(row), host, (long long) port);
	}
	json_decref(seen);
	return rc;
}

/* Router or gate: which holds the clients of each database, where the program does not say it. */
static void
add_holders(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = section_of(ctx, params);
	const char *holder = section && config_value(section, "hold") ? "router" : "gate";
	json_t	   *databases = json_object();
	const char *database;
	json_t	   *unused;

	json_object_foreach(json_object_get(params, "databases"), database, unused)
		json_object_set_new(databases, database, json_pack("{s:s}", "held_by", holder));
	json_object_set_new(result, "databases", databases);
}

/* Each database of the route must be one that it has: else the commit would find out, when nobody can write. */
static int
prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	json_t	   *seen = json_object();
	int			rc = observe(ctx, params, seen);
	const char *database;
	json_t	   *unused;

	json_object_foreach(json_object_get(params, "databases"), database, unused)
		if (rc == 0 && !row_of(seen, database))
			rc = action_fail(ctx, STATE_UNKNOWN_DATABASE, "endpoint \"command.%s\" has no database \"%s\"",
							 param_string(params, "endpoint", ""), database);
	if (rc == 0 && json_object_get(params, "places") && !json_is_true(json_object_get(seen, "several")))
		rc = action_fail(ctx, STATE_FEATURE_NOT_SUPPORTED,
						 "endpoint \"command.%s\" does not tell that it can lead to several servers",
						 param_string(params, "endpoint", ""));
	json_decref(seen);
	if (rc == 0)
		rc = run_order(ctx, "prepare", params, result);
	if (rc == 0 && !json_is_object(json_object_get(result, "databases")))
		add_holders(ctx, params, result);
	if (rc == 0 && *param_string(params, "smoke", ""))
		rc = command_driver.smoke(ctx, params, result);
	return rc;
}

static int
hold(ActionContext *ctx, json_t *params, json_t *result)
{
	json_object_set_new(result, "complete", json_true());
	return run_order(ctx, "hold", params, result);
}

static int
commit(ActionContext *ctx, json_t *params, json_t *result)
{
	if (!order_has_place(params))
		return order_no_place(ctx);
	return run_order(ctx, "commit", params, result) < 0 ? -1 : look(ctx, params);
}

static int
release(ActionContext *ctx, json_t *params, json_t *result)
{
	return run_order(ctx, "release", params, result) < 0 ? -1 : run_order(ctx, "undo", params, result);
}

static int
smoke(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = section_of(ctx, params);

	if (section && !config_value(section, "smoke"))
		return action_fail(ctx, STATE_UNDEFINED_OBJECT,
						   "[command.%s] has no program \"smoke\" for the smoke test of its route", section->name);
	return run_order(ctx, "smoke", params, result);
}

const RouteDriver command_driver = {
	.name = "command",
	.several = true,			/* where its program says so */
	.valid = valid,
	.check = check,
	.observe = observe,
	.prepare = prepare,
	.hold = hold,
	.commit = commit,
	.release = release,
	.smoke = smoke,
};
