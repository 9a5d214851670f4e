/*
 * order.c
 *		What orders to all drivers have in common.
 */
#include "agent/job/params.h"
#include "agent/route/order.h"
#include "common/sqlstate.h"

const ConfigSection *
order_section(ActionContext *ctx, json_t *params, const char *driver)
{
	const char *endpoint = param_string(params, "endpoint", "");
	const ConfigSection *section = config_section(ctx->config, driver, endpoint);

	if (!section)
		action_fail(ctx, STATE_UNDEFINED_OBJECT, "no endpoint \"%s.%s\" is configured", driver, endpoint);
	return section;
}

bool
order_has_place(json_t *params)
{
	int64_t		port = param_int(params, "port", 0);

	return *param_string(params, "host", "") && port >= 1 && port <= 65535;
}

int
order_no_place(ActionContext *ctx)
{
	return action_fail(ctx, STATE_INVALID_PARAMETER, "\"host\" and \"port\" must name the new place");
}
