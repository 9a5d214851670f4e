/*
 * haproxy.c
 *		The route driver for HAProxy, by its runtime API: [haproxy.ENDPOINT] names the socket.
 *
 * A "database" of the route is a backend (or a section "listen"). Where the backend has a server line for each node,
 * the lines of the wanted places are set ready and the others to maintenance (of an RO route: drain, its sessions may
 * go on). Where it has one line only, that line gets another address and port.
 *
 * HAProxy connects a client with one server for as long as the session lasts, so it can hold nobody: the write gate
 * does. At the commit newcomers are sent to the new place. Then the sessions of the old one have a moment to be ended
 * by the server, which tells its clients why; what is left is shut down.
 *
 * HAProxy forgets all of this when it is restarted. observe tells what it does now.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/address.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/text.h"
#include "agent/job/params.h"
#include "agent/route/driver.h"
#include "agent/route/haproxysessions.h"
#include "agent/route/names.h"
#include "agent/route/order.h"
#include "agent/route/runtime.h"
#include "common/sqlstate.h"

#define TIMEOUT_MAX_MS 60000
#define EFFECT_MS 1000			/* so long an order may take to have its effect */

/* srv_admin_state of "show servers state"; 0x04 only says that maintenance came from the configuration */
#define ADMIN_MAINTENANCE (0x01 | 0x02 | 0x20)
#define ADMIN_DRAIN (0x08 | 0x10)

/* ---- configuration ---- */

static const char *
value_of(const ConfigSection *section, const char *key, const char *otherwise)
{
	const char *value = config_value(section, key);

	return value ? value : otherwise;
}

static bool
option_valid(const char *key, const char *value, char *error, size_t error_size)
{
	ListenAddress address;

	if (strcmp(key, "socket") == 0)
	{
		if (listen_parse(value, &address) == 0)
			return true;
		snprintf(error, error_size, "needs ADDRESS:PORT or unix:/PATH as \"socket\"");
	}
	else if (strcmp(key, "timeout_ms") == 0)
	{
		if (config_number(value, 1, TIMEOUT_MAX_MS))
			return true;
		snprintf(error, error_size, "needs a number from 1 to %d as \"timeout_ms\"", TIMEOUT_MAX_MS);
	}
	else if (strcmp(key, "hosts") == 0)
		return true;
	else
		snprintf(error, error_size, "has the unknown option \"%s\"", key);
	return false;
}

static bool
valid(const ConfigSection *section, char *error, size_t error_size)
{
	for (int i = 0; i < section->n; i++)
		if (!option_valid(section->keys[i], section->values[i], error, error_size))
			return false;
	if (config_value(section, "socket"))
		return true;
	snprintf(error, error_size, "needs the option \"socket\"");
	return false;
}

/* The name under which the node of an address is registered, by "hosts"; else the address.  malloc'd */
static char *
registered_name(const ConfigSection *section, const char *address)
{
	char	  **hosts = text_split_list(value_of(section, "hosts", ""), ',');
	char	   *name = NULL;

	for (int i = 0; hosts && hosts[i] && !name; i++)
	{
		Resolved	host = addresses_of(hosts[i], false);

		if (has_address(&host, address))
			name = xstrdup(hosts[i]);
	}
	text_free_list(hosts);
	return name ? name : xstrdup(address);
}

/* ---- what an order is about ---- */

/* Where it shall point: "places", or else "host" and "port".  A new reference. */
static json_t *
places_of(json_t *params)
{
	json_t	   *places = json_object_get(params, "places");

	if (json_is_array(places) && json_array_size(places) > 0)
		return json_incref(places);
	return json_pack("[{s:s, s:I}]", "host", param_string(params, "host", ""), "port",
					 (json_int_t) param_int(params, "port", 0));
}

static bool
places_valid(json_t *places)
{
	json_t	   *place;
	size_t		i;

	json_array_foreach(places, i, place)
		if (!order_has_place(place))
			return false;
	return true;
}

static int
admin_state(json_t *server)
{
	return atoi(runtime_cell(server, "srv_admin_state"));
}

/* Would it get new sessions, as far as it is for people to say? Whether it is up is its health check's affair. */
static bool
is_ready(json_t *server)
{
	return (admin_state(server) & (ADMIN_MAINTENANCE | ADMIN_DRAIN)) == 0;
}

/* The rows of a backend, a new list. */
static json_t *
servers_of(json_t *table, const char *backend)
{
	json_t	   *servers = json_array();
	json_t	   *row;
	size_t		i;

	json_array_foreach(table, i, row)
		if (strcmp(runtime_cell(row, "be_name"), backend) == 0)
			json_array_append(servers, row);
	return servers;
}

/* ---- observe ---- */

static json_t *
place_json(const ConfigSection *section, json_t *server)
{
	char	   *host = registered_name(section, runtime_cell(server, "srv_addr"));
	json_t	   *place = json_pack("{s:s, s:I, s:b}", "host", host, "port",
								  (json_int_t) atoll(runtime_cell(server, "srv_port")),
								  "up", atoi(runtime_cell(server, "srv_op_state")) != 0);

	free(host);
	return place;
}

/* A backend with nothing ready leads nowhere: it has no host. */
static json_t *
backend_json(const ConfigSection *section, json_t *table, const char *backend)
{
	json_t	   *servers = servers_of(table, backend);
	json_t	   *places = json_array();
	json_t	   *row = json_pack("{s:s}", "name", backend);
	json_t	   *server;
	size_t		i;

	json_array_foreach(servers, i, server)
		if (is_ready(server))
			json_array_append_new(places, place_json(section, server));
	if (json_array_size(places) > 0)
	{
		json_object_set(row, "host", json_object_get(json_array_get(places, 0), "host"));
		json_object_set(row, "port", json_object_get(json_array_get(places, 0), "port"));
	}
	json_object_set_new(row, "places", places);
	json_decref(servers);
	return row;
}

static int
observe(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, haproxy_driver.name);
	char		why[512];
	char		version[64] = "";
	json_t	   *table = section ? runtime_servers(section, why, sizeof(why)) : NULL;
	char	   *answer = table ? runtime_ask(section, "show version\n", why, sizeof(why)) : NULL;
	json_t	   *databases = json_array();
	const char *last = "";
	json_t	   *row;
	size_t		i;

	if (answer)
	{
		runtime_words(answer, version, sizeof(version));
		json_array_foreach(table, i, row)
		{
			if (strcmp(runtime_cell(row, "be_name"), last) != 0)
				json_array_append_new(databases, backend_json(section, table, runtime_cell(row, "be_name")));
			last = runtime_cell(row, "be_name");
		}
		json_object_set_new(result, "version", json_string(version));
		json_object_set_new(result, "several", json_true());
		json_object_set(result, "databases", databases);
	}
	json_decref(databases);
	json_decref(table);
	free(answer);
	if (!section)
		return -1;
	return answer ? 0 : action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", why);
}

/* ---- prepare ---- */

/* Is there a line for the place, or one that can be turned to it? */
static int
check_place(ActionContext *ctx, const ConfigSection *section, json_t *servers, const char *backend, json_t *place,
			size_t n_places)
{
	const char *host = param_string(place, "host", "");
	Resolved	known = addresses_of(host, false);
	json_t	   *server;
	size_t		i;

	if (known.n == 0)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "the host \"%s\" has no address here", host);
	json_array_foreach(servers, i, server)
		if (runtime_leads_to(server, place))
			return 0;
	server = json_array_get(servers, 0);
	if (json_array_size(servers) != 1 || n_places != 1)
	{
		action_fail(ctx, STATE_UNDEFINED_OBJECT,
					"backend \"%s\" of endpoint \"haproxy.%s\" has no server for %s:%lld", backend, section->name,
					host, (long long) param_int(place, "port", 0));
		action_hint(ctx, "Give it a server line for each node, or a single one.");
		return -1;
	}
	if (strcmp(runtime_cell(server, "srv_fqdn"), "-") != 0)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
						   "the address of server \"%s\" in backend \"%s\" is set by HAProxy's own resolvers",
						   runtime_cell(server, "srv_name"), backend);
	return 0;
}

/* What it leads to is told by name where the node is registered by a name: without "hosts" nobody would know it. */
static int
check_name(ActionContext *ctx, const ConfigSection *section, json_t *place)
{
	const char *host = param_string(place, "host", "");
	Resolved	known = addresses_of(host, true);
	char	   *name = known.n > 0 ? registered_name(section, known.addresses[0]) : NULL;
	int			rc = 0;

	if (name && strcmp(name, host) != 0)
	{
		rc = action_fail(ctx, STATE_INVALID_PARAMETER, "\"hosts\" of [haproxy.%s] does not name \"%s\"",
						 section->name, host);
		action_hint(ctx, "HAProxy tells addresses only; list the hosts of all nodes as they are registered.");
	}
	free(name);
	return rc;
}

/* Can the backend lead there? */
static int
check_backend(ActionContext *ctx, const ConfigSection *section, json_t *table, const char *backend, json_t *places)
{
	json_t	   *servers = servers_of(table, backend);
	json_t	   *place;
	size_t		i;
	int			rc = 0;

	if (!runtime_name_valid(backend))
		rc = action_fail(ctx, STATE_INVALID_PARAMETER, "\"%s\" is no name of a backend", backend);
	else if (json_array_size(servers) == 0)
		rc = action_fail(ctx, STATE_UNKNOWN_DATABASE, "endpoint \"haproxy.%s\" has no backend \"%s\" with a server",
						 section->name, backend);
	json_array_foreach(places, i, place)
		if (rc == 0)
			rc = check_place(ctx, section, servers, backend, place, json_array_size(places));
	json_decref(servers);
	return rc;
}

/* A socket of a lower level answers questions, and refuses orders. */
static int
check_level(ActionContext *ctx, const ConfigSection *section)
{
	char		why[512];
	char		level[32] = "";
	char	   *answer = runtime_ask(section, "show cli level\n", why, sizeof(why));

	if (!answer)
		return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", why);
	runtime_words(answer, level, sizeof(level));
	free(answer);
	if (strcmp(level, "admin") == 0)
		return 0;
	action_fail(ctx, STATE_INVALID_AUTHORIZATION, "the socket of endpoint \"haproxy.%s\" is not of level admin",
				section->name);
	action_hint(ctx, "Add \"level admin\" to its line \"stats socket\" in haproxy.cfg.");
	return -1;
}

static int
prepare(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, haproxy_driver.name);
	char		why[512];
	json_t	   *places = places_of(params);
	json_t	   *table = section ? runtime_servers(section, why, sizeof(why)) : NULL;
	json_t	   *databases = json_object();
	const char *backend;
	json_t	   *unused;
	json_t	   *place;
	size_t		i;
	int			rc = section ? 0 : -1;

	if (section && !table)
		rc = action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", why);
	if (rc == 0 && !places_valid(places))
		rc = order_no_place(ctx);
	if (rc == 0)
		rc = check_level(ctx, section);
	json_array_foreach(places, i, place)
		if (rc == 0)
			rc = check_name(ctx, section, place);
	json_object_foreach(json_object_get(params, "databases"), backend, unused)
	{
		if (rc == 0)
			rc = check_backend(ctx, section, table, backend, places);
		json_object_set_new(databases, backend, json_pack("{s:s}", "held_by", "gate"));
	}
	if (rc == 0)
		json_object_set(result, "databases", databases);
	json_decref(databases);
	json_decref(table);
	json_decref(places);
	return rc;
}

/* ---- orders ---- */

/* Does the backend lead to the places, to all of them, and to nothing else? */
static bool
backend_leads(json_t *servers, json_t *places)
{
	json_t	   *server;
	json_t	   *place;
	size_t		i;
	size_t		k;

	json_array_foreach(servers, i, server)
		if (is_ready(server) && !runtime_leads_to_one_of(server, places))
			return false;
	json_array_foreach(places, k, place)
	{
		bool		served = false;

		json_array_foreach(servers, i, server)
			served = served || (is_ready(server) && runtime_leads_to(server, place));
		if (!served)
			return false;
	}
	return json_array_size(servers) > 0;
}

static void
add_turn(Text *line, const char *backend, const char *server, json_t *place)
{
	runtime_next_command(line);
	text_addf(line, "set server %s/%s addr %s port %lld", backend, server,
			  addresses_of(param_string(place, "host", ""), false).addresses[0],
			  (long long) param_int(place, "port", 0));
}

/* The old places first: an RW route never leads to two. */
static void
add_orders(Text *line, const char *backend, json_t *servers, json_t *places, bool drain)
{
	json_t	   *first = json_array_get(places, 0);
	int			off = drain ? ADMIN_MAINTENANCE | ADMIN_DRAIN : ADMIN_MAINTENANCE;
	bool		single = json_array_size(servers) == 1;
	json_t	   *server;
	size_t		i;

	json_array_foreach(servers, i, server)
	{
		if (single || runtime_leads_to_one_of(server, places) || (admin_state(server) & off) != 0)
			continue;
		runtime_next_command(line);
		text_addf(line, "set server %s/%s state %s", backend, runtime_cell(server, "srv_name"),
				  drain ? "drain" : "maint");
	}
	json_array_foreach(servers, i, server)
	{
		const char *name = runtime_cell(server, "srv_name");
		bool		leads = runtime_leads_to_one_of(server, places);

		if (single && !leads)
			add_turn(line, backend, name, first);
		if ((single || leads) && !is_ready(server))
		{
			runtime_next_command(line);
			text_addf(line, "set server %s/%s state ready", backend, name);
		}
	}
}

/* Is one of them a backend with a single line, which is going to be turned? */
static bool
turns_one(json_t *table, json_t *databases, json_t *places)
{
	const char *backend;
	json_t	   *unused;
	bool		turns = false;

	json_object_foreach(databases, backend, unused)
	{
		json_t	   *servers = servers_of(table, backend);

		turns = turns || (json_array_size(servers) == 1 &&
						  !runtime_leads_to_one_of(json_array_get(servers, 0), places));
		json_decref(servers);
	}
	return turns;
}

/* ---- commit ---- */

/* Gives the orders for all databases; what HAProxy says to them goes to words. -1: the job has failed. */
static int
give_orders(ActionContext *ctx, const ConfigSection *section, json_t *table, json_t *databases, json_t *places,
			bool drain, char *words, size_t words_size)
{
	char		why[512];
	Text		line = {0};
	char	   *answer = NULL;
	const char *backend;
	json_t	   *unused;
	int			rc = 0;

	json_object_foreach(databases, backend, unused)
	{
		json_t	   *servers = servers_of(table, backend);

		add_orders(&line, backend, servers, places, drain);
		json_decref(servers);
	}
	if (line.size > 0)
	{
		text_addf(&line, "\n");
		answer = runtime_ask(section, line.data, why, sizeof(why));
		rc = answer ? 0 : action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", why);
	}
	if (answer)
		runtime_words(answer, words, words_size);
	free(line.data);
	free(answer);
	return rc;
}

/* The first backend that does not lead to the places; NULL: all do. It points into databases. */
static const char *
astray(json_t *table, json_t *databases, json_t *places)
{
	const char *backend;
	const char *found = NULL;
	json_t	   *unused;

	json_object_foreach(databases, backend, unused)
	{
		json_t	   *servers = servers_of(table, backend);

		if (!found && !backend_leads(servers, places))
			found = backend;
		json_decref(servers);
	}
	return found;
}

/* After the orders it is asked what it does. A new address takes effect a moment later (from HAProxy 3 on). */
static int
verify(ActionContext *ctx, const ConfigSection *section, json_t *databases, json_t *places, const char *words)
{
	double		limit = clock_monotonic_ms() + EFFECT_MS;
	json_t	   *place = json_array_get(places, 0);
	char		why[512];

	for (;;)
	{
		json_t	   *table = runtime_servers(section, why, sizeof(why));
		const char *backend = table ? astray(table, databases, places) : NULL;

		if (!table)
			return action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", why);
		json_decref(table);
		if (!backend)
			return 0;
		if (clock_monotonic_ms() < limit)
		{
			sleep_ms(1);
			continue;
		}
		action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE,
					"backend \"%s\" of endpoint \"haproxy.%s\" does not lead to %s:%lld", backend, section->name,
					param_string(place, "host", ""), (long long) param_int(place, "port", 0));
		if (*words)
			action_detail(ctx, "HAProxy says: %s", words);
		return -1;
	}
}

/* What cannot be done for one of them is done for none. */
static int
check_all(ActionContext *ctx, const ConfigSection *section, json_t *table, json_t *databases, json_t *places)
{
	const char *backend;
	json_t	   *unused;
	int			rc = 0;

	json_object_foreach(databases, backend, unused)
		if (rc == 0)
			rc = check_backend(ctx, section, table, backend, places);
	return rc;
}

/*
 * Orders, and a look. A session with a single line that is turned is one of the old place only if it was there
 * before.
 * Others can be told by their server afterwards, when nobody waits any more.
 */
static int
lead(ActionContext *ctx, const ConfigSection *section, json_t *databases, json_t *places, bool drain,
	 json_t **sessions)
{
	char		why[512];
	char		words[256] = "";
	json_t	   *table = runtime_servers(section, why, sizeof(why));
	int			rc = table ? check_all(ctx, section, table, databases, places) :
		action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", why);

	if (rc == 0 && !drain && turns_one(table, databases, places))
		*sessions = haproxy_sessions_elsewhere(section, table, databases, places, why, sizeof(why));
	if (rc == 0)
		rc = give_orders(ctx, section, table, databases, places, drain, words, sizeof(words));
	if (rc == 0)
		rc = verify(ctx, section, databases, places, words);
	if (rc == 0 && !drain && !*sessions)
		*sessions = haproxy_sessions_elsewhere(section, table, databases, places, why, sizeof(why));
	json_decref(table);
	return rc;
}

static int
commit(ActionContext *ctx, json_t *params, json_t *result)
{
	const ConfigSection *section = order_section(ctx, params, haproxy_driver.name);
	json_t	   *databases = json_object_get(params, "databases");
	json_t	   *places = places_of(params);
	bool		drain = strcmp(param_string(params, "kind", "rw"), "ro") == 0;
	json_t	   *sessions = NULL;
	int			rc = section ? 0 : -1;

	if (section && !places_valid(places))
		rc = order_no_place(ctx);
	if (rc == 0)
		rc = lead(ctx, section, databases, places, drain, &sessions);
	if (rc == 0)
		json_object_set_new(result, "resumed_ms", json_real(clock_realtime_ms()));
	if (rc == 0 && json_object_size(sessions) > 0)
	{
		json_t	   *later = json_pack("{s:s, s:O, s:O}", "endpoint", section->name, "databases", databases,
									  "sessions", sessions);

		action_afterwards(ctx, haproxy_end_sessions, later);
		json_decref(later);
	}
	json_decref(sessions);
	json_decref(places);
	return rc;
}

/* ---- --check ---- */

static void
check(const ConfigSection *section, CheckSay say)
{
	char	  **hosts = text_split_list(value_of(section, "hosts", ""), ',');
	char		why[512];
	char		level[32] = "";
	char	   *answer = runtime_ask(section, "show cli level\n", why, sizeof(why));

	if (answer)
		runtime_words(answer, level, sizeof(level));
	if (!answer)
		say(false, "route endpoint haproxy.%s: %s", section->name, why);
	else
		say(strcmp(level, "admin") == 0, "route endpoint haproxy.%s: %s is of level admin", section->name,
			config_value(section, "socket"));
	free(answer);
	for (int i = 0; hosts && hosts[i]; i++)
		say(addresses_of(hosts[i], true).n > 0, "route endpoint haproxy.%s: host %s has an address", section->name,
			hosts[i]);
	text_free_list(hosts);
}

const RouteDriver haproxy_driver = {
	.name = "haproxy",
	.several = true,
	.valid = valid,
	.check = check,
	.observe = observe,
	.prepare = prepare,
	.commit = commit,
};
