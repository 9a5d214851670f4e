/*
 * artefact.c
 *		What an upgrade has left behind on this host.
 *
 * A data directory may have a million files. It is walked by a thread that gives way to others, and by one at a time.
 */
#include <errno.h>
#include <fts.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/core/clock.h"
#include "agent/facts/error.h"
#include "agent/snapshot/tree.h"
#include "agent/upgrade/artefact.h"
#include "agent/upgrade/folder.h"
#include "agent/upgrade/upgrade.h"

#define AGAIN_MS 600000
#define NAP_EVERY 200			/* entries, then 1 ms */
#define BLOCK 512				/* of st_blocks */

/* What is known of the folder that was measured last; under the lock. */
typedef struct Measured
{
	char		run[101];
	char		path[1024];
	bool		running;
	double		started_ms;		/* clock_monotonic_ms() of the last walk; 0: none */
	long long	bytes;
	double		at_ms;			/* 0: not measured yet */
	long long	first_bytes;
	double		first_ms;
} Measured;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Measured known;

/* ---- the walk ---- */

/* -1 with errno: it was not seen as a whole. What vanishes meanwhile is no error. */
static long long
bytes_of(const char *path)
{
	char	   *const paths[] = {(char *) path, NULL};
	FTS		   *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
	long long	bytes = walk ? 0 : -1;
	long		n = 0;
	FTSENT	   *entry;

	while (bytes >= 0 && (errno = 0, entry = fts_read(walk)))
	{
		if (++n % NAP_EVERY == 0)
			sleep_ms(1);
		if (entry->fts_info == FTS_D && strcmp(entry->fts_name, TREE_STORE) == 0)
			fts_set(walk, entry, FTS_SKIP);
		else if (entry->fts_info == FTS_DNR || entry->fts_info == FTS_ERR || entry->fts_info == FTS_NS)
		{
			if (entry->fts_errno != ENOENT)
				bytes = -1;
		}
		else if (entry->fts_info == FTS_D || (entry->fts_info != FTS_DP && entry->fts_statp->st_nlink == 1))
			bytes += (long long) entry->fts_statp->st_blocks * BLOCK;
	}
	if (walk && bytes >= 0 && errno != 0 && errno != ENOENT)
		bytes = -1;
	if (walk)
		fts_close(walk);
	return bytes;
}

static json_t *
measure(const PgInstance *pg, json_t *params)
{
	const char *path = json_string_value(json_object_get(params, "path"));
	long long	bytes = bytes_of(path);

	(void) pg;
	pthread_mutex_lock(&lock);
	known.running = false;
	if (bytes >= 0 && strcmp(known.path, path) == 0)
	{
		known.bytes = bytes;
		known.at_ms = clock_realtime_ms();
		if (known.first_ms == 0)
		{
			known.first_bytes = known.bytes;
			known.first_ms = known.at_ms;
		}
	}
	pthread_mutex_unlock(&lock);
	return json_true();
}

/* Is it time to? Then it counts as begun. */
static bool
is_due(const UpgradeRecord *record, const char *path)
{
	double		now = clock_monotonic_ms();
	bool		due;

	pthread_mutex_lock(&lock);
	if (!known.running && (strcmp(known.path, path) != 0 || strcmp(known.run, record->run) != 0))
	{
		memset(&known, 0, sizeof(known));
		snprintf(known.path, sizeof(known.path), "%s", path);
		snprintf(known.run, sizeof(known.run), "%s", record->run);
	}
	due = !known.running && (known.started_ms == 0 || now - known.started_ms > AGAIN_MS);
	if (due)
	{
		known.running = true;
		known.started_ms = now;
	}
	pthread_mutex_unlock(&lock);
	return due;
}

/* ---- what is told ---- */

static bool
has_mode(const UpgradeRecord *record, UpgradeMode mode)
{
	return strcmp(record->mode, upgrade_mode_name(mode)) == 0;
}

static bool
takes_files(const UpgradeRecord *record)
{
	return has_mode(record, UPGRADE_LINK) || has_mode(record, UPGRADE_SWAP);
}

/* Copies that share their blocks look as large as others, and nobody can tell what removing them would free. */
static bool
can_be_measured(const UpgradeRecord *record)
{
	return has_mode(record, UPGRADE_COPY) || has_mode(record, UPGRADE_STANDBY) ||
		(takes_files(record) && record->state == RECORD_DONE);
}

static bool
is_way_back(const UpgradeRecord *record)
{
	return record->state == RECORD_DONE && !record->clearing &&
		(!takes_files(record) || record->snapshot == SNAPSHOT_TAKEN);
}

static json_t *
row_of(const UpgradeRecord *record, const char *kind, const char *name)
{
	json_t	   *row = json_pack("{s:s, s:s, s:s, s:s, s:b}", "run", record->run, "mode",
								record->mode, "kind", kind, "name", name,
								"way_back", is_way_back(record));

	if (record->since_ms > 0)
		json_object_set_new(row, "since_ms", json_real(record->since_ms));
	return row;
}

static void
add_measured(const UpgradeRecord *record, json_t *row)
{
	const char *path = json_string_value(json_object_get(row, "name"));

	pthread_mutex_lock(&lock);
	if (known.at_ms > 0 && strcmp(known.path, path) == 0 && strcmp(known.run, record->run) == 0)
	{
		json_object_set_new(row, "bytes", json_integer(known.bytes));
		json_object_set_new(row, "measured_ms", json_real(known.at_ms));
		json_object_set_new(row, "first_bytes", json_integer(known.first_bytes));
		json_object_set_new(row, "first_ms", json_real(known.first_ms));
	}
	pthread_mutex_unlock(&lock);
}

/* The data directory; NULL: none is left. */
static const char *
folder_left(const UpgradeRecord *record)
{
	const char *path = record_left_over(record);

	return path && !folder_is_empty(path) ? path : NULL;
}

/* A walk that goes on ends by itself; one that could not begin is none. */
static void
take_end(json_t *answer)
{
	if (json_is_object(answer))
	{
		pthread_mutex_lock(&lock);
		known.running = false;
		pthread_mutex_unlock(&lock);
	}
	json_decref(answer);
}

void
artefact_begin(ActionContext *ctx, ArtefactLook *look)
{
	const char *path;

	memset(look, 0, sizeof(*look));
	if (record_open(ctx, &look->record) < 0)
	{
		look->answer = facts_error("%s", action_error_message(ctx));
		action_forget_error(ctx);
		return;
	}
	path = folder_left(&look->record);
	if (path && can_be_measured(&look->record) && is_due(&look->record, path))
	{
		json_t	   *params = json_pack("{s:s}", "path", path);

		look->measure = attempt_begin(measure, ctx->config, NULL, params);
		json_decref(params);
	}
}

json_t *
artefact_end(ArtefactLook *look, double deadline_ms)
{
	const UpgradeRecord *record = &look->record;
	const char *path = look->answer ? NULL : folder_left(record);
	json_t	   *rows = json_array();

	if (look->measure)
		take_end(attempt_end(look->measure, deadline_ms));
	if (path)
	{
		json_t	   *row = row_of(record, "data directory", path);

		if (can_be_measured(record))
			add_measured(record, row);
		json_array_append_new(rows, row);
	}
	if (!look->answer && record->snapshot != SNAPSHOT_NONE)
		json_array_append_new(rows, row_of(record, "snapshot", record->run));
	if (!look->answer)
		return json_pack("{s:o}", "rows", rows);
	json_decref(rows);
	return look->answer;
}
