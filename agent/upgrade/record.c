/*
 * record.c
 *		What this host remembers of an upgrade.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/upgrade/record.h"
#include "common/sqlstate.h"

#define FILE_MAX (16 * 1024)
#define ROOM_BYTES 4096

static const char *const names[] = {
	[RECORD_NONE] = "none",
	[RECORD_DISCARDED] = "discarded",
	[RECORD_REVERTED] = "reverted",
	[RECORD_PREPARED] = "prepared",
	[RECORD_CROSSING] = "crossing",
	[RECORD_STARTED] = "started",
	[RECORD_DONE] = "done",
	[RECORD_FINAL] = "final",
};

static char *
record_path(const AgentConfig *config)
{
	return xasprintf("%s/upgrade.json", config->state_dir);
}

static char *
room_path(const AgentConfig *config)
{
	return xasprintf("%s/upgrade.room", config->state_dir);
}

static void
take(char *to, size_t size, json_t *json, const char *name)
{
	const char *value = json_string_value(json_object_get(json, name));

	snprintf(to, size, "%s", value ? value : "");
}

static int
from_json(json_t *json, UpgradeRecord *record)
{
	const char *state = json_string_value(json_object_get(json, "state"));

	for (UpgradeState i = RECORD_DISCARDED; state && i <= RECORD_FINAL; i++)
		if (strcmp(state, names[i]) == 0)
			record->state = i;
	take(record->run, sizeof(record->run), json, "run");
	take(record->back, sizeof(record->back), json, "back");
	record->snapshot = (SnapshotState) json_integer_value(json_object_get(json, "snapshot"));
	record->clearing = json_is_true(json_object_get(json, "clearing"));
	record->ran = json_is_true(json_object_get(json, "ran"));
	take(record->mode, sizeof(record->mode), json, "mode");
	take(record->old_data, sizeof(record->old_data), json, "old_data");
	take(record->new_data, sizeof(record->new_data), json, "new_data");
	take(record->system, sizeof(record->system), json, "system");
	take(record->checkpoint, sizeof(record->checkpoint), json, "checkpoint");
	record->since_ms = json_number_value(json_object_get(json, "since_ms"));
	if (record->state != RECORD_NONE)
		return 0;
	errno = EINVAL;
	return -1;
}

static int
read_file(const AgentConfig *config, UpgradeRecord *record)
{
	char	   *path = record_path(config);
	char	   *text = file_read(path, FILE_MAX, NULL);
	int			reason = errno;
	json_t	   *json = text ? json_loads(text, 0, NULL) : NULL;
	int			rc;

	memset(record, 0, sizeof(*record));
	if (text)
		rc = from_json(json, record);
	else
	{
		errno = reason;
		rc = reason == ENOENT ? 0 : -1;
	}
	json_decref(json);
	free(text);
	free(path);
	return rc;
}

static int
write_file(const AgentConfig *config, const UpgradeRecord *record)
{
	char	   *path = record_path(config);
	char	   *room = room_path(config);
	json_t	   *json = json_pack("{s:s, s:s, s:s, s:s, s:i, s:b, s:b, s:s, s:s, s:s, s:s, s:f}",
								 "state", names[record->state], "run", record->run, "back", record->back,
								 "mode", record->mode, "snapshot", (int) record->snapshot,
								 "clearing", record->clearing, "ran", record->ran,
								 "old_data", record->old_data, "new_data", record->new_data,
								 "system", record->system, "checkpoint", record->checkpoint,
								 "since_ms", record->since_ms);
	char	   *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	int			rc = text ? file_write_renewed(path, room, text, strlen(text), ROOM_BYTES, 0600) : -1;

	free(text);
	json_decref(json);
	free(room);
	free(path);
	return rc;
}

int
record_reserve(ActionContext *ctx)
{
	char	   *room = room_path(ctx->config);
	int			rc = file_reserve(room, ROOM_BYTES, 0600);

	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "no room for the record of the upgrade: %s", strerror(errno));
	free(room);
	return rc;
}

int
record_open(ActionContext *ctx, UpgradeRecord *record)
{
	return read_file(ctx->config, record) == 0 ? 0 :
		action_fail(ctx, STATE_IO_ERROR, "the record of the upgrade cannot be read: %s", strerror(errno));
}

bool
record_is_own(const ActionContext *ctx, const UpgradeRecord *record)
{
	return record->state != RECORD_NONE && strcmp(record->run, ctx->run) == 0;
}

const char *
record_left_over(const UpgradeRecord *record)
{
	if (record->state == RECORD_DONE)
		return record->old_data;
	return record->back[0] && record->state < RECORD_CROSSING ? record->new_data : NULL;
}

int
record_keep(ActionContext *ctx, const UpgradeRecord *record)
{
	return write_file(ctx->config, record) == 0 ? 0 :
		action_fail(ctx, STATE_IO_ERROR, "could not write the record of the upgrade: %s", strerror(errno));
}

int
record_enter(ActionContext *ctx, UpgradeRecord *record, UpgradeState state)
{
	if (record->state != state)
		record->since_ms = clock_realtime_ms();
	record->state = state;
	return record_keep(ctx, record);
}
