/*
 * facts.c
 *		The action "facts": what preflight wants to know of this host, its PostgreSQL and its poolers, and whether the
 *		connections that a move needs can be made.
 *
 * It only reads. The answer holds no secret: connection strings, passwords and commands that may contain them are
 * left out or masked. What may take long is asked at the same time as the rest. The parts about a server are those of
 * the instance that was asked for; without a name that is the main one.
 */
#include "agent/arbiter/arbiter.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/facts/attempt.h"
#include "agent/facts/backup.h"
#include "agent/facts/error.h"
#include "agent/facts/facts.h"
#include "agent/facts/host.h"
#include "agent/facts/instances.h"
#include "agent/facts/network.h"
#include "agent/facts/postgres.h"
#include "agent/facts/restore.h"
#include "agent/job/epoch.h"
#include "agent/job/known.h"
#include "agent/route/drivers.h"
#include "common/protocol.h"

#define MAX_CONNECTS 8
#define PATIENCE_MS 4000		/* for what is tried for real; the worker waits 5 s */

/* The answers, each beside what was asked. */
static json_t *
connections(Attempt **attempts, json_t *wanted, double deadline)
{
	json_t	   *rows = json_array();
	json_t	   *one;
	size_t		i;

	json_array_foreach(wanted, i, one)
	{
		json_t	   *answer = i < MAX_CONNECTS ? attempt_end(attempts[i], deadline) :
			facts_error("only %d connections are tried", MAX_CONNECTS);
		json_t	   *row = json_copy(one);

		if (!answer)
			answer = facts_error("no answer within %d ms", PATIENCE_MS);
		json_object_set_new(row, "ok", json_false());
		json_object_update(row, answer);
		json_decref(answer);
		json_array_append_new(rows, row);
	}
	return rows;
}

static json_t *
ask_arbiter(const PgInstance *pg, json_t *params)
{
	AgentConfig *config = config_current();
	json_t	   *word = arbiter_word(config);

	(void) pg;
	(void) params;
	config_release(config);
	return word;
}

/* What a part that was begun has answered; NULL: it was not. */
static void
end_part(json_t *result, const char *name, Attempt *part, double deadline)
{
	json_t	   *answer = part ? attempt_end(part, deadline) : NULL;

	if (part)
		json_object_set_new(result, name, answer ? answer : facts_error("no answer within %d ms", PATIENCE_MS));
}

int
action_facts(ActionContext *ctx, json_t *params, json_t *result)
{
	const AgentConfig *config = ctx->config;
	double		began = clock_monotonic_ms();
	json_t	   *wanted = json_object_get(params, "connect");
	json_t	   *wanted_backup = facts_backup_params(config);
	Attempt    *backup = wanted_backup ? attempt_begin(facts_backup, config, NULL, wanted_backup) : NULL;
	Attempt    *arbiter = arbiter_configured(config) ? attempt_begin(ask_arbiter, config, NULL, NULL) : NULL;
	Attempt    *restore = NULL;
	Attempt    *attempts[MAX_CONNECTS];
	json_t	   *one;
	size_t		i;

	json_array_foreach(wanted, i, one)
		if (i < MAX_CONNECTS)
			attempts[i] = attempt_begin(facts_connection, config, ctx->pg, one);
	json_object_set_new(result, "node", json_string(config->node));
	json_object_set_new(result, "version", json_string(PINGPONG_AGENT_VERSION));
	json_object_set_new(result, "protocol", json_integer(PINGPONG_PROTOCOL));
	json_object_set_new(result, "actions", action_names());
	json_object_set_new(result, "epoch", json_integer(epoch_current()));
	json_object_set_new(result, "ha_managers", facts_ha_managers());
	json_object_set_new(result, "instances", facts_instances(config));
	if (ctx->pg)
	{
		json_object_set_new(result, "instance", json_string(ctx->pg->name));	/* whose the parts from here on are */
		json_object_set_new(result, "disks", facts_disks(ctx->pg));
		json_object_set_new(result, "service", facts_service(ctx->pg));
		json_object_set_new(result, "postgres", facts_postgres(ctx->pg));
		if (json_is_true(json_object_get(json_object_get(result, "postgres"), "restore_command_set")) ||
			json_is_true(json_object_get(json_object_get(result, "postgres"), "recovery_end_command_set")))
			restore = attempt_begin(facts_restore, config, ctx->pg, NULL);
		else if (json_is_false(json_object_get(json_object_get(result, "postgres"), "restore_command_set")))
			json_object_set_new(result, "restore", json_pack("{s:b}", "set", 0));
	}
	json_object_set_new(result, "routers", drivers_observe(ctx));
	json_object_set_new(result, "connect", connections(attempts, wanted, began + PATIENCE_MS));
	end_part(result, "restore", restore, began + PATIENCE_MS);
	end_part(result, "backup", backup, began + PATIENCE_MS);
	end_part(result, "arbiter", arbiter, began + PATIENCE_MS);
	json_decref(wanted_backup);
	json_object_set_new(result, "elapsed_ms", json_real(clock_monotonic_ms() - began));
	json_object_set_new(result, "host", facts_host());	/* last: it has the clock */
	return 0;
}
