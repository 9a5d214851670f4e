/*
 * facts.c
 *		The action "facts": what preflight wants to know of this host, its PostgreSQL and
 *		its poolers, and whether the connections that a move needs can be made.
 *
 * It only reads, and holds no secret: connection strings, passwords and commands that
 * may contain them are left out or masked.
 */
#include <stdarg.h>
#include <stdio.h>

#include "agent/facts.h"
#include "agent/jobs.h"

json_t *
facts_error(const char *format,...)
{
	char		message[512];
	va_list		args;
	json_t	   *text;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	text = json_string(message);
	return json_pack("{s:o}", "error", text ? text : json_string("the error is not valid UTF-8"));
}

int
action_facts(ActionContext *ctx, json_t *params, json_t *result)
{
	const AgentConfig *config = ctx->config;
	double		began = clock_monotonic_ms();

	json_object_set_new(result, "node", json_string(config->node));
	json_object_set_new(result, "version", json_string(PINGPONG_AGENT_VERSION));
	json_object_set_new(result, "epoch", json_integer(epoch_current()));
	json_object_set_new(result, "ha_managers", facts_ha_managers());
	if (config->pg.present)
	{
		json_object_set_new(result, "disks", facts_disks(&config->pg));
		json_object_set_new(result, "service", facts_service(config));
		json_object_set_new(result, "postgres", facts_postgres(config));
	}
	json_object_set_new(result, "routers", facts_routers(config));
	json_object_set_new(result, "connect", facts_connect(config, json_object_get(params, "connect")));
	json_object_set_new(result, "elapsed_ms", json_real(clock_monotonic_ms() - began));
	json_object_set_new(result, "host", facts_host());	/* last: it has the clock */
	return 0;
}
