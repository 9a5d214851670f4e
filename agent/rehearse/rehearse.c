/*
 * rehearse.c
 *		An upgrade in place and its way back, made on a clone of the main server.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/child.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/rehearse/clone.h"
#include "agent/rehearse/conduct.h"
#include "agent/rehearse/place.h"
#include "agent/rehearse/rehearse.h"
#include "common/sqlstate.h"

#define START_TIMEOUT_MS 600000
#define RUN_TIMEOUT_MS 86400000
#define RESULT_MAX (64 * 1024)
#define SECRET_BYTES 24
#define SELF "/proc/self/exe"	/* also where the program's file was replaced since */

/* ---- the agent of the rehearsal ---- */

static int
write_file(Rehearsal *rehearsal, const char *name, const char *text)
{
	char	   *path = rehearsal_path(rehearsal, name);
	int			rc = file_write_atomic(path, text, strlen(text), 0600, false);

	if (rc < 0)
		action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(path);
	return rc;
}

/* No agent of a real node knows it. */
static int
write_token(Rehearsal *rehearsal)
{
	unsigned char secret[SECRET_BYTES];
	char		text[2 * SECRET_BYTES + 1];

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return action_fail(rehearsal->upgrade.ctx, STATE_SYSTEM_ERROR, "no random bytes: %s", strerror(errno));
	for (int i = 0; i < SECRET_BYTES; i++)
		snprintf(text + 2 * i, 3, "%02x", secret[i]);
	return write_file(rehearsal, "token", text);
}

/* Of the drivers only this one works on whatever folder. */
static bool
has_snapshots(const Rehearsal *rehearsal)
{
	char	  **snapshot = rehearsal->upgrade.old->snapshot;

	return snapshot && strcmp(snapshot[0], "reflink") == 0;
}

static int
write_config(Rehearsal *rehearsal)
{
	const PgInstance *old = &rehearsal->old;
	const PgInstance *new = &rehearsal->new;
	const char *folder = rehearsal->folder;
	Text		ini = {0};
	int			rc;

	text_addf(&ini, "[agent]\nnode = %s\nlisten = unix:%s/agent.sock\ntoken_file = %s/token\nstate_dir = %s/state\n"
			  "log_level = error\n",
			  rehearsal->upgrade.ctx->config->node, folder, folder, folder);
	text_addf(&ini, "[postgresql]\ndata = %s\nbin = %s\nsocket = %s\nport = %d\nlog = %s\nsuperuser = %s\n"
			  "database = %s\n%s", old->data, old->bin, folder, old->port, old->log, old->superuser, old->database,
			  has_snapshots(rehearsal) ? "snapshot = reflink\n" : "");
	text_addf(&ini, "[postgresql.next]\ndata = %s\nbin = %s\nlog = %s\nsuccessor = yes\n", new->data, new->bin,
			  new->log);
	rc = write_file(rehearsal, "agent.ini", ini.data);
	free(ini.data);
	return rc;
}

/* Without a snapshot mode swap is refused, and mode link differs in how the files are taken over only. */
static UpgradeMode
mode_there(const Rehearsal *rehearsal)
{
	UpgradeMode mode = rehearsal->upgrade.mode;

	return mode == UPGRADE_SWAP && !has_snapshots(rehearsal) ? UPGRADE_LINK : mode;
}

static int
write_order(Rehearsal *rehearsal, const char *what, json_t *params)
{
	Upgrade    *upgrade = &rehearsal->upgrade;
	json_t	   *carry = json_object_get(params, "carry");
	json_t	   *order = json_pack("{s:s, s:s, s:i, s:i, s:s, s:i, s:O}", "what", what, "node",
								  upgrade->ctx->config->node, "from_version", upgrade->from, "to_version",
								  upgrade->to, "mode", upgrade_mode_name(mode_there(rehearsal)), "jobs",
								  upgrade->jobs, "carry", json_is_array(carry) ? carry : json_array());
	char	   *text = json_dumps(order, JSON_COMPACT);
	int			rc = write_file(rehearsal, REHEARSAL_ORDER, text);

	free(text);
	json_decref(order);
	return rc;
}

static int
read_result(Rehearsal *rehearsal, json_t *result)
{
	char	   *path = rehearsal_path(rehearsal, REHEARSAL_RESULT);
	char	   *text = file_read(path, RESULT_MAX, NULL);
	json_t	   *told = text ? json_loads(text, 0, NULL) : NULL;

	if (told)
		json_object_update(result, told);
	else
		action_fail(rehearsal->upgrade.ctx, STATE_INTERNAL_ERROR, "the rehearsal has told no result");
	json_decref(told);
	free(text);
	free(path);
	return told ? 0 : -1;
}

typedef struct Told
{
	Rehearsal  *rehearsal;
	char		why[600];		/* it failed; "": it did not say */
} Told;

static bool
begins_with(const char *line, size_t len, const char *word)
{
	return len >= strlen(word) && strncmp(line, word, strlen(word)) == 0;
}

static void
hear(Told *told, const char *line, size_t len)
{
	if (begins_with(line, len, REHEARSAL_FAILED) || begins_with(line, len, REHEARSAL_BROKEN))
		snprintf(told->why, sizeof(told->why), "%.*s", (int) len, line);
	else if (len > 0)
		action_progress(told->rehearsal->upgrade.ctx, -1, "%.*s", (int) (len < 200 ? len : 200), line);
}

/* A line comes in one piece: each is written and flushed as a whole. */
static void
hear_lines(void *argument, const char *data, size_t size)
{
	while (size > 0)
	{
		const char *end = memchr(data, '\n', size);
		size_t		len = end ? (size_t) (end - data) : size;

		hear(argument, data, len);
		size -= end ? len + 1 : len;
		data += end ? len + 1 : len;
	}
}

static const char *
stop_when_full(void *argument)
{
	return rehearsal_spares(((Told *) argument)->rehearsal);
}

static int
run_agent(Rehearsal *rehearsal, char *ini)
{
	ActionContext *ctx = rehearsal->upgrade.ctx;
	Told		told = {.rehearsal = rehearsal};
	ChildOptions options = {.timeout_ms = RUN_TIMEOUT_MS, .directory = rehearsal->folder, .on_output = hear_lines,
	.stop = stop_when_full, .argument = &told};
	int			rc = child_run(ctx, (char *[]) {SELF, "--config", ini, "--rehearse", NULL}, &options);

	if (rc <= 0)
		return rc;
	action_fail(ctx, STATE_EXTERNAL_ROUTINE, "%s", told.why[0] ? told.why : "the agent of the rehearsal ended");
	action_hint(ctx, "See the logs in \"%s/rehearsal\".", ctx->config->state_dir);
	return -1;
}

static int
conduct(Rehearsal *rehearsal, const char *what, json_t *params, json_t *result)
{
	char	   *ini = rehearsal_path(rehearsal, "agent.ini");
	char	   *told = rehearsal_path(rehearsal, REHEARSAL_RESULT);
	int			rc = remove_tree(told);

	if (rc == 0)
		rc = write_order(rehearsal, what, params) < 0 || run_agent(rehearsal, ini) < 0 ||
			read_result(rehearsal, result) < 0 ? -1 : 0;
	else
		action_fail(rehearsal->upgrade.ctx, STATE_IO_ERROR, "could not remove \"%s\": %s", told, strerror(errno));
	free(told);
	free(ini);
	return rc;
}

/* ---- the actions ---- */

/* What fails on a disk that is nearly full tells nothing else. */
static int
end_step(Rehearsal *rehearsal, int rc)
{
	if (rc < 0 && rehearsal->folder && !action_cancelled(rehearsal->upgrade.ctx))
	{
		(void) rehearsal_spares(rehearsal);
		(void) rehearsal_check_full(rehearsal);
	}
	rehearsal_close(rehearsal);
	return rc;
}

static double
told_ms(json_t *result, const char *name)
{
	return json_number_value(json_object_get(result, name));
}

int
action_rehearse_clone(ActionContext *ctx, json_t *params, json_t *result)
{
	Rehearsal	rehearsal;
	int			rc = rehearsal_open(ctx, params, &rehearsal);

	if (rc == 0)
		rc = rehearsal_make(&rehearsal) < 0 || write_token(&rehearsal) < 0 || write_config(&rehearsal) < 0 ||
			clone_make(&rehearsal, json_object_get(params, "from"), result) < 0 ? -1 : 0;
	if (rc == 0)
		json_object_set_new(result, "message", json_sprintf("%lld MB, a copy of %s",
															(long long) param_int(result, "bytes", 0) >> 20,
															param_string(result, "from", "?")));
	return end_step(&rehearsal, rc);
}

static int
start_clone(Rehearsal *rehearsal)
{
	ActionContext on = rehearsal_on(rehearsal, &rehearsal->old);
	PGconn	   *conn = control_start(&on) < 0 ? NULL :
		control_wait_ready(&on, clock_monotonic_ms() + START_TIMEOUT_MS);

	PQfinish(conn);
	return conn ? 0 : -1;
}

int
action_rehearse_run(ActionContext *ctx, json_t *params, json_t *result)
{
	Rehearsal	rehearsal;
	int			rc = rehearsal_open(ctx, params, &rehearsal);

	if (rc == 0)
		rc = rehearsal_check_own(&rehearsal) < 0 || start_clone(&rehearsal) < 0 ||
			conduct(&rehearsal, REHEARSE_UPGRADE, params, result) < 0 ? -1 : 0;
	if (rc == 0)
		json_object_set_new(result, "message", json_sprintf("window %.1f ms", told_ms(result, "window_ms")));
	return end_step(&rehearsal, rc);
}

int
action_rehearse_back(ActionContext *ctx, json_t *params, json_t *result)
{
	Rehearsal	rehearsal;
	int			rc = rehearsal_open(ctx, params, &rehearsal);

	if (rc == 0 && upgrade_takes_files(&rehearsal.upgrade) && !has_snapshots(&rehearsal))
		json_object_set_new(result, "message", json_sprintf("not tried: in mode %s it needs a snapshot, and only "
															"reflink works on a clone",
															upgrade_mode_name(rehearsal.upgrade.mode)));
	else if (rc == 0)
	{
		rc = rehearsal_check_own(&rehearsal) < 0 ? -1 : conduct(&rehearsal, REHEARSE_BACK, params, result);
		if (rc == 0)
			json_object_set_new(result, "message", json_sprintf("back in %.1f ms", told_ms(result, "rollback_ms")));
	}
	return end_step(&rehearsal, rc);
}

/* The configuration may have changed meanwhile, and name no place any more. */
int
action_rehearse_clear(ActionContext *ctx, json_t *params, json_t *result)
{
	Rehearsal	rehearsal;
	int			rc = rehearsal_open_left(ctx, &rehearsal);

	(void) params;
	(void) result;
	if (rc == 0 && rehearsal.folder)
		rc = rehearsal_remove(&rehearsal);
	rehearsal_close(&rehearsal);
	return rc;
}
