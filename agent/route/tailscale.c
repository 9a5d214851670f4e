/*
 * tailscale.c
 *		The route driver for services of Tailscale: [tailscale.ENDPOINT] of the agent on the host that serves them.
 *
 * A database of the route is a service, svc:NAME, which this host forwards to a server:
 *
 *		tailscale serve --service=svc:NAME --tcp=PORT tcp://HOST:PORT
 *		tailscale serve clear svc:NAME		where the port serves something else than a TCP forward
 *		tailscale serve status --json		what it does now
 *
 * It can hold nobody: the write gate does, and the server ends the sessions of before.
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

#define COMMAND "/usr/bin/tailscale"
#define TIMEOUT_MS 5000			/* for one call */
#define STATUS_MAX (256 * 1024)

/* ---- configuration ---- */

static bool
valid(const ConfigSection *section, char *error, size_t error_size)
{
	for (int i = 0; i < section->n; i++)
	{
		const char *key = section->keys[i];
		const char *value = section->values[i];

		if (strcmp(key, "port") != 0 && strcmp(key, "command") != 0)
			snprintf(error, error_size, "has the unknown option \"%s\"", key);
		else if (strcmp(key, "port") == 0 && !config_number(value, 1, 65535))
			snprintf(error, error_size, "needs a number from 1 to 65535 as \"port\"");
		else if (strcmp(key, "command") == 0 && value[0] != '/')
			snprintf(error, error_size, "needs the absolute path of a program as \"command\"");
		else
			continue;
		return false;
	}
	if (config_value(section, "port"))
		return true;
	snprintf(error, error_size, "needs the option \"port\"");
	return false;
}

/* ---- calls ---- */

static char **
argv_of(const ConfigSection *section, const char *const *words)
{
	const char *command = config_value(section, "command");
	char	  **argv = text_split_words(command ? command : COMMAND);

	for (int i = 0; words[i]; i++)
		text_append(&argv, xstrdup(words[i]));
	return argv;
}

/* 0; -1 with the last line of what it said */
static int
call(const ConfigSection *section, const char *const *words, char *text, size_t size)
{
	char	  **argv = argv_of(section, words);
	int			rc = child_run_text(argv, TIMEOUT_MS, text, size);

	if (rc != 0 && !*text)
		snprintf(text, size, "\"%s\" failed", argv[0]);
	if (rc != 0)
		text[strcspn(text, "\n")] = '\0';
	text_free_list(argv);
	return rc == 0 ? 0 : -1;
}

/* The services; NULL with why. None at all is {}. */
static json_t *
services_of(const ConfigSection *section, char *why, size_t why_size)
{
	char	   *text = xalloc(STATUS_MAX);
	json_t	   *status = NULL;
	json_t	   *services = NULL;

	if (call(section, (const char *const[]) {"serve", "status", "--json", NULL}, text, STATUS_MAX) < 0)
		snprintf(why, why_size, "%s", text);
	else if (!(status = json_loads(text, 0, NULL)) || (!json_is_object(status) && !json_is_null(status)))
		snprintf(why, why_size, "\"serve status --json\" gave no JSON");
	else
	{
		services = json_object_get(status, "Services");
		services = json_is_object(services) ? json_incref(services) : json_object();
	}
	json_decref(status);
	free(text);
	return services;
}

/* HOST:PORT to which a service forwards its port; NULL: to none */
static const char *
target_of(const ConfigSection *section, json_t *service)
{
	json_t	   *port = json_object_get(json_object_get(service, "TCP"), config_value(section, "port"));

	return json_string_value(json_object_get(port, "TCPForward"));
}

static char *
service_name(const char *database)
{
	return xasprintf("svc:%s", database);
}

static bool
leads(const ConfigSection *section, json_t *services, const char *database, const char *place)
{
	char	   *name = service_name(database);
	const char *target = target_of(section, json_object_get(services, name));

	free(name);
	return target && strcmp(target, place) == 0;
}

/* ---- orders ---- */

static json_t *
row_of(const char *name, const char *target)
{
	const char *colon = target ? strrchr(target, ':') : NULL;
	json_t	   *row = json_pack("{s:s}", "name", name);
	bool		in_brackets = colon && target[0] == '[' && colon[-1] == ']';

	if (!colon || !config_number(colon + 1, 1, 65535))
		return row;
	json_object_set_new(row, "host", json_stringn(target + in_brackets, colon - target - 2 * in_brackets));
	json_object_set_new(row, "port", json_integer(atoi(colon + 1)));
	return row;
}

static int
observe(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, tailscale_driver.name);
	char		why[512];
	json_t	   *services = section ? services_of(section, why, sizeof(why)) : NULL;
	json_t	   *databases = json_array();
	const char *name;
	json_t	   *service;

	json_object_foreach(services, name, service)
		if (strncmp(name, "svc:", 4) == 0)
			json_array_append_new(databases, row_of(name + 4, target_of(section, service)));
	json_object_set_new(result, "databases", databases);
	if (!section)
		return -1;
	if (!services)
		return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"tailscale.%s\": %s", section->name, why);
	json_object_set_new(result, "version", json_string(tailscale_driver.name));
	json_decref(services);
	return 0;
}

static int
prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, tailscale_driver.name);
	char		why[512];
	json_t	   *services = section ? services_of(section, why, sizeof(why)) : NULL;
	json_t	   *databases = json_object();
	const char *database;
	json_t	   *unused;
	int			rc = services ? 0 : -1;

	if (section && !services)
		action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"tailscale.%s\": %s", section->name, why);
	json_object_foreach(json_object_get(params, "databases"), database, unused)
	{
		char	   *name = service_name(database);

		if (rc == 0 && !target_of(section, json_object_get(services, name)))
			rc = action_fail(ctx, STATE_UNKNOWN_DATABASE,
							 "endpoint \"tailscale.%s\" has no service \"%s\" that forwards port %s", section->name,
							 name, config_value(section, "port"));
		json_object_set_new(databases, database, json_pack("{s:s}", "held_by", "gate"));
		free(name);
	}
	json_object_set_new(result, "databases", databases);
	json_decref(services);
	return rc;
}

/* Does the service do something else at the port, which a forward cannot replace? False also where nobody knows. */
static bool
is_in_the_way(const ConfigSection *section, const char *name)
{
	char		why[512];
	json_t	   *services = services_of(section, why, sizeof(why));
	json_t	   *service = json_object_get(services, name);
	bool		other = json_object_get(json_object_get(service, "TCP"), config_value(section, "port")) != NULL &&
		!target_of(section, service);

	json_decref(services);
	return other;
}

/* serve; where something else is at the port, the service is cleared, and served anew. */
static int
serve(const ConfigSection *section, const char *database, const char *place, char *why, size_t why_size)
{
	char	   *name = service_name(database);
	char	   *service = xasprintf("--service=%s", name);
	char	   *port = xasprintf("--tcp=%s", config_value(section, "port"));
	char	   *target = xasprintf("tcp://%s", place);
	const char *const words[] = {"serve", service, port, target, NULL};
	char		said[512];
	int			rc = call(section, words, why, why_size);

	if (rc < 0 && is_in_the_way(section, name) &&
		call(section, (const char *const[]) {"serve", "clear", name, NULL}, said, sizeof(said)) == 0)
		rc = call(section, words, why, why_size);
	free(target);
	free(port);
	free(service);
	free(name);
	return rc;
}

/* After all were told, it is asked what it does. */
static int
verify(ActionContext *ctx, const ConfigSection *section, json_t *databases, const char *place)
{
	char		why[512];
	json_t	   *services = services_of(section, why, sizeof(why));
	const char *database;
	json_t	   *unused;
	int			rc = services ? 0 : action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"tailscale.%s\": %s",
												section->name, why);

	json_object_foreach(databases, database, unused)
		if (rc == 0 && !leads(section, services, database, place))
			rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
							 "service \"svc:%s\" of endpoint \"tailscale.%s\" does not lead to %s", database,
							 section->name, place);
	json_decref(services);
	return rc;
}

static int
commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, tailscale_driver.name);
	const char *host = param_string(params, "host", "");
	int64_t		port = param_int(params, "port", 0);
	char	   *place = xasprintf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, (int) port);
	char		why[512];
	const char *database;
	json_t	   *unused;
	int			rc = section ? 0 : -1;

	if (rc == 0 && !order_has_place(params))
		rc = order_no_place(ctx);
	json_object_foreach(json_object_get(params, "databases"), database, unused)
		if (rc == 0 && serve(section, database, place, why, sizeof(why)) < 0)
			rc = action_fail(ctx, STATE_EXTERNAL_ROUTINE, "endpoint \"tailscale.%s\": %s", section->name, why);
	if (rc == 0)
		rc = verify(ctx, section, json_object_get(params, "databases"), place);
	free(place);
	return rc;
}

/* ---- --check ---- */

static void
check(const ConfigSection *section, CheckSay say)
{
	char		why[512];
	json_t	   *services = services_of(section, why, sizeof(why));

	say(services != NULL, "route endpoint tailscale.%s: %s", section->name, services ? "it tells its services" : why);
	json_decref(services);
}

const RouteDriver tailscale_driver = {
	.name = "tailscale",
	.valid = valid,
	.check = check,
	.observe = observe,
	.prepare = prepare,
	.commit = commit,
};
