/*
 * upgrade.c
 *		An upgrade in place: which two servers an order is about.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/configread.h"
#include "agent/core/succession.h"
#include "agent/job/params.h"
#include "agent/pg/paths.h"
#include "agent/pg/version.h"
#include "agent/upgrade/boot.h"
#include "agent/upgrade/record.h"
#include "agent/upgrade/upgrade.h"
#include "common/sqlstate.h"

#define JOBS_MAX 64
#define RELOAD_TIMEOUT_MS 20000
#define POLL_MS 10

static const char *const mode_names[] = {
	[UPGRADE_COPY] = "copy", [UPGRADE_LINK] = "link", [UPGRADE_CLONE] = "clone", [UPGRADE_SWAP] = "swap",
	[UPGRADE_STANDBY] = "standby"
};

bool
upgrade_shares_files(const Upgrade *upgrade)
{
	return upgrade_takes_files(upgrade) || upgrade->mode == UPGRADE_CLONE;
}

bool
upgrade_takes_files(const Upgrade *upgrade)
{
	return upgrade->mode == UPGRADE_LINK || upgrade->mode == UPGRADE_SWAP;
}

const char *
upgrade_mode_name(UpgradeMode mode)
{
	return mode_names[mode];
}

static int
take_mode(ActionContext *ctx, json_t *params, Upgrade *upgrade)
{
	const char *name = param_string(params, "mode", "copy");

	for (UpgradeMode i = UPGRADE_COPY; i <= UPGRADE_SWAP; i++)
		if (strcmp(name, mode_names[i]) == 0)
		{
			upgrade->mode = i;
			return 0;
		}
	return action_fail(ctx, STATE_INVALID_PARAMETER,
					   "\"mode\" must be copy, link, clone or swap, not \"%.20s\"", name);
}

static int
refuse_unknown(ActionContext *ctx, int major)
{
	action_fail(ctx, STATE_UNDEFINED_OBJECT, "the agent of node \"%s\" knows no successor of version %d",
				ctx->config->node, major);
	action_hint(ctx, "Name its folders in the agent's configuration: a section [postgresql.NAME] with \"data\", "
				"\"bin\" and \"successor = yes\". Install the packages first.");
	return -1;
}

static const PgInstance *
by_data(const AgentConfig *config, const char *data)
{
	for (int i = 0; i < config->n_instances; i++)
		if (strcmp(config->instances[i].data, data) == 0)
			return &config->instances[i];
	return NULL;
}

/* In the middle of this run the new server may be the main one already. */
static int
find_servers(ActionContext *ctx, Upgrade *upgrade)
{
	UpgradeRecord record;

	if (record_open(ctx, &record) < 0)
		return -1;
	if (record_is_own(ctx, &record))
	{
		upgrade->old = by_data(ctx->config, record.old_data);
		upgrade->new = by_data(ctx->config, record.new_data);
	}
	else
	{
		upgrade->old = ctx->pg;
		upgrade->new = succession_find(ctx->config, upgrade->to, version_major);
	}
	return upgrade->old && upgrade->new ? 0 : refuse_unknown(ctx, upgrade->to);
}

static int
check_control(const Upgrade *upgrade)
{
	const PgInstance *both[] = {upgrade->old, upgrade->new};

	for (int i = 0; i < 2; i++)
		if (both[i]->control != PG_CONTROL_PG_CTL && !config_is_elsewhere(both[i]))
			return action_fail(upgrade->ctx, STATE_FEATURE_NOT_SUPPORTED, "an upgrade needs \"control = pg_ctl\", "
							   "\"pg_ctlcluster\", or \"systemctl\" with Debian's unit postgresql@VERSION-NAME, for "
							   "both servers, and [%s] has \"%s\"", both[i]->section,
							   both[i]->control == PG_CONTROL_SYSTEMCTL ? both[i]->unit :
							   config_control_name(both[i]->control));
	if (config_is_elsewhere(upgrade->old) != config_is_elsewhere(upgrade->new))
		return action_fail(upgrade->ctx, STATE_FEATURE_NOT_SUPPORTED, "[%s] and [%s] must both be clusters of "
						   "Debian's, or both have \"control = pg_ctl\"", upgrade->old->section,
						   upgrade->new->section);
	return 0;
}

/* By its programs: what was broken off may have no data directory that tells. */
bool
upgrade_has_successor(ActionContext *ctx)
{
	int			own = version_major(ctx->pg);

	for (int i = 1; i < ctx->config->n_instances && !*ctx->pg->name; i++)
		if (ctx->config->instances[i].successor && version_major(&ctx->config->instances[i]) != own)
			return true;
	return false;
}

int
upgrade_open_standby(ActionContext *ctx, int to, Upgrade *upgrade)
{
	*upgrade = (Upgrade) {.ctx = ctx, .old = ctx->pg, .from = version_of_data(ctx->pg), .to = to, .jobs = 1,
	.mode = UPGRADE_STANDBY};
	upgrade->new = succession_find(ctx->config, to, version_major);
	return upgrade->new ? check_control(upgrade) : refuse_unknown(ctx, to);
}

int
upgrade_open(ActionContext *ctx, json_t *params, Upgrade *upgrade)
{
	memset(upgrade, 0, sizeof(*upgrade));
	upgrade->ctx = ctx;
	upgrade->to = (int) param_int(params, "to_version", 0);
	upgrade->jobs = (int) param_int(params, "jobs", 1);
	if (take_mode(ctx, params, upgrade) < 0 || find_servers(ctx, upgrade) < 0)
		return -1;
	if (upgrade->jobs < 1 || upgrade->jobs > JOBS_MAX)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"jobs\" must be from 1 to %d", JOBS_MAX);
	upgrade->from = version_of_data(upgrade->old);
	if (upgrade->to == 0)
		upgrade->to = version_of_data(upgrade->new);
	return check_control(upgrade);
}

ActionContext
upgrade_on(const Upgrade *upgrade, const PgInstance *pg)
{
	ActionContext ctx = *upgrade->ctx;

	ctx.pg = pg;
	return ctx;
}

char *
upgrade_work_folder(const Upgrade *upgrade)
{
	return xasprintf("%s/upgrade", upgrade->ctx->config->state_dir);
}

int
upgrade_ready_main(ActionContext *ctx)
{
	char		error[512];
	AgentConfig *config = config_read(ctx->config->path, error, sizeof(error));

	if (!config)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the agent's configuration cannot be read again: %s",
						   error);
	config_free(config);
	return succession_reserve(ctx->config) == 0 ? 0 :
		action_fail(ctx, STATE_IO_ERROR, "no room to write which instance is the main one: %s", strerror(errno));
}

/* Before the other is the main one: at each moment at most one of them starts with the host. */
static void
leave_boot(ActionContext *ctx, const PgInstance *pg)
{
	AgentConfig *config = config_current();

	if (strcmp(config->instances[0].data, pg->data) != 0)
		boot_leave(&config->instances[0], ctx->run);
	config_release(config);
}

int
upgrade_make_main(ActionContext *ctx, const PgInstance *pg)
{
	const char *dot = strchr(pg->section, '.');	/* none: [postgresql], which is it where nothing is written */
	double		limit = clock_monotonic_ms() + RELOAD_TIMEOUT_MS;
	bool		seen = false;

	leave_boot(ctx, pg);
	if (succession_write(ctx->config, dot ? dot + 1 : NULL) < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not write which instance is the main one: %s",
						   strerror(errno));
	kill(getpid(), SIGHUP);
	while (!seen && clock_monotonic_ms() < limit)
	{
		AgentConfig *config = config_current();

		seen = strcmp(config->instances[0].data, pg->data) == 0;
		config_release(config);
		if (!seen)
			sleep_ms(POLL_MS);
	}
	if (!seen)
		return action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the agent's configuration cannot be read again, so "
						   "\"%s\" did not become the main instance", pg->section);
	boot_take(pg);
	return 0;
}
