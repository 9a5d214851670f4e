/*
 * drivers.c
 *		The route drivers that there are.
 */
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/route/drivers.h"

#define ADDRESS_OF_DRIVER(name) &name,

static const RouteDriver *const drivers[] = {ROUTE_DRIVERS(ADDRESS_OF_DRIVER)};

#define DRIVERS ((int) (sizeof(drivers) / sizeof(drivers[0])))

const RouteDriver *
driver_at(int n)
{
	return n < DRIVERS ? drivers[n] : NULL;
}

const RouteDriver *
driver_find(const char *name)
{
	for (int i = 0; i < DRIVERS; i++)
		if (strcmp(drivers[i]->name, name) == 0)
			return drivers[i];
	return NULL;
}

const ConfigKind *
driver_sections(void)
{
	static ConfigKind kinds[DRIVERS + 1];
	int			n = 0;

	for (int i = 0; i < DRIVERS; i++)
		if (drivers[i]->valid)
			kinds[n++] = (ConfigKind) {.name = drivers[i]->name, .valid = drivers[i]->valid};
	return kinds;
}

void
drivers_start(void)
{
	for (int i = 0; i < DRIVERS; i++)
		if (drivers[i]->start)
			drivers[i]->start();
}

/* An endpoint that cannot be observed says why, and does not keep the others from being. */
static json_t *
observe(ActionContext *ctx, const RouteDriver *driver, const char *endpoint)
{
	json_t	   *params = json_pack("{s:s}", "endpoint", endpoint);
	json_t	   *row = json_pack("{s:s, s:s}", "driver", driver->name, "endpoint", endpoint);

	if (driver->observe && driver->observe(ctx, params, row) < 0)
	{
		json_object_set_new(row, "error", json_string(action_error_message(ctx)));
		action_forget_error(ctx);
	}
	json_decref(params);
	return row;
}

json_t *
drivers_observe(ActionContext *ctx)
{
	json_t	   *rows = json_array();
	const AgentConfig *config = ctx->config;

	for (int i = 0; i < config->n_bouncers; i++)
		json_array_append_new(rows, observe(ctx, &pgbouncer_driver, config->bouncers[i].name));
	for (int i = 0; i < config->n_sections; i++)
	{
		const RouteDriver *driver = driver_find(config->sections[i].kind);

		if (driver)
			json_array_append_new(rows, observe(ctx, driver, config->sections[i].name));
	}
	return rows;
}
