/*
 * compare.c
 *		What the new server holds is compared with what the old one held.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/upgrade/compare.h"
#include "agent/upgrade/topics.h"
#include "common/sqlstate.h"

#define BASELINE_MS 5000		/* for all databases: clients wait */
#define COMPARE_MS 15000		/* of a server that has just started */
#define FILE_MAX (256 * 1024 * 1024)
#define TOLD_MAX 3				/* differences in the job's error */

typedef struct Comparison
{
	json_t	   *differences;	/* sentences */
	json_t	   *unknown;		/* sentences */
	int			databases;
	int			compared;		/* of them, in all topics */
} Comparison;

static json_t *
look(const PgInstance *pg, PGconn *conn, double deadline_ms)
{
	return json_pack("{s:o, s:o}", "cluster", visit_ask(conn, topics_of_cluster, deadline_ms),
					 "databases", visit_databases(pg, conn, topics_of_database, deadline_ms));
}

/* ---- the file ---- */

static char *
baseline_path(const Upgrade *upgrade)
{
	char	   *folder = upgrade_work_folder(upgrade);
	char	   *path = xasprintf("%s/baseline.json", folder);

	free(folder);
	return path;
}

static int
write_baseline(const Upgrade *upgrade, json_t *baseline)
{
	char	   *folder = upgrade_work_folder(upgrade);
	char	   *path = baseline_path(upgrade);
	char	   *text = json_dumps(baseline, JSON_COMPACT);
	int			rc = text && make_directory(folder, 0700) == 0 ?
		file_write_atomic(path, text, strlen(text), 0600, true) : -1;

	if (rc < 0)
		action_fail(upgrade->ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(text);
	free(path);
	free(folder);
	return rc;
}

/* NULL: there is none of this run, and why is logged. */
static json_t *
read_baseline(const Upgrade *upgrade)
{
	char	   *path = baseline_path(upgrade);
	char	   *text = file_read(path, FILE_MAX, NULL);
	json_t	   *baseline = text ? json_loads(text, 0, NULL) : NULL;
	const char *run = json_string_value(json_object_get(baseline, "run"));

	if (!run || strcmp(run, upgrade->ctx->run) != 0)
	{
		log_warning("upgrade: \"%s\" has no answers of the old server for this run", path);
		json_decref(baseline);
		baseline = NULL;
	}
	free(text);
	free(path);
	return baseline;
}

/* ---- the comparison ---- */

static void
add(json_t *list, const char *place, const char *text)
{
	char	   *sentence = xasprintf("%s%s", place, text);

	json_array_append_new(list, json_string(sentence));
	free(sentence);
}

static const char *
error_of(json_t *answer)
{
	return answer ? json_string_value(json_object_get(answer, "error")) : "it was not asked";
}

static void
compare_topic(Comparison *all, const char *place, const char *topic, json_t *before, json_t *after)
{
	long long	was = json_integer_value(json_object_get(before, "count"));
	long long	is = json_integer_value(json_object_get(after, "count"));
	char	   *text = was != is ? xasprintf("%s: %lld before, %lld after", topic, was, is) :
		xasprintf("%s: %lld before and after, but not the same", topic, was);

	if (!json_equal(before, after))
		add(all->differences, place, text);
	free(text);
}

/* False: some topic could not be compared. */
static bool
compare_topics(Comparison *all, const char *place, json_t *before, json_t *after)
{
	bool		whole = true;
	const char *topic;
	json_t	   *was;

	json_object_foreach(before, topic, was)
	{
		json_t	   *is = json_object_get(after, topic);
		const char *error = json_is_string(was) ? NULL : error_of(was) ? error_of(was) : error_of(is);
		char	   *text = error ? xasprintf("%s: %s", topic, error) : NULL;

		if (text)
			add(all->unknown, place, text);
		else if (json_is_object(was))
			compare_topic(all, place, topic, was, is);
		whole &= !text;
		free(text);
	}
	return whole;
}

static json_t *
row_of(json_t *rows, const char *database)
{
	json_t	   *row;
	size_t		i;

	json_array_foreach(rows, i, row)
	{
		const char *name = json_string_value(json_object_get(row, "database"));

		if (name && strcmp(name, database) == 0)
			return row;
	}
	return NULL;
}

/* A row is of one database. */
static void
compare_database(Comparison *all, json_t *before, json_t *rows)
{
	const char *name = json_string_value(json_object_get(before, "database"));
	const char *database = name ? name : "";	/* it is no valid UTF-8 */
	json_t	   *after = row_of(rows, database);
	char	   *place = xasprintf("database \"%s\": ", database);
	const char *error = error_of(before) ? error_of(before) : after ? error_of(after) : NULL;

	if (!name)
		add(all->unknown, place, "its name cannot be told");
	else if (!after)
		add(all->differences, place, "it is not there any more, or takes no connections");
	else if (error)
		add(all->unknown, place, error);
	else if (compare_topics(all, place, before, after))
		all->compared++;
	all->databases++;
	free(place);
}

static void
compare(Comparison *all, json_t *before, json_t *after)
{
	json_t	   *databases = json_object_get(before, "databases");
	json_t	   *rows = json_object_get(json_object_get(after, "databases"), "rows");
	json_t	   *row;
	size_t		i;

	compare_topics(all, "", json_object_get(before, "cluster"), json_object_get(after, "cluster"));
	if (error_of(databases))
		add(all->unknown, "all databases: ", error_of(databases));
	else if (!rows)
		add(all->unknown, "all databases: ", error_of(json_object_get(after, "databases")));
	else
		json_array_foreach(json_object_get(databases, "rows"), i, row)
			compare_database(all, row, rows);
}

/* ---- what is told ---- */

static int
fail_with(ActionContext *ctx, json_t *differences)
{
	size_t		n = json_array_size(differences);
	char	   *text = xstrdup("");
	json_t	   *one;
	size_t		i;

	json_array_foreach(differences, i, one)
	{
		char	   *longer = i < TOLD_MAX ? xasprintf("%s%s%s", text, i ? "; " : "", json_string_value(one)) : NULL;

		log_error("upgrade: after pg_upgrade: %s", json_string_value(one));
		if (longer)
		{
			free(text);
			text = longer;
		}
	}
	if (n > TOLD_MAX)
		action_fail(ctx, STATE_DATA_CORRUPTED, "the new server does not hold what the old one held: %s; and %zu more",
					text, n - TOLD_MAX);
	else
		action_fail(ctx, STATE_DATA_CORRUPTED, "the new server does not hold what the old one held: %s", text);
	free(text);
	return -1;
}

static void
tell(const Comparison *all, json_t *result)
{
	char	   *text = json_array_size(all->unknown) == 0 ?
		xasprintf("%d databases hold what they held before", all->databases) :
		xasprintf("not all is compared: %d of %d databases; \"not_compared\" of the step's detail has the rest",
				  all->compared, all->databases);

	json_object_set_new(result, "message", json_string(text));
	free(text);
}

int
compare_begin(const Upgrade *upgrade, PGconn *conn, json_t *result)
{
	double		began = clock_monotonic_ms();
	json_t	   *baseline;
	int			rc;

	action_progress(upgrade->ctx, -1, "asking the old server what it holds");
	baseline = look(upgrade->old, conn, began + BASELINE_MS);
	json_object_set_new(baseline, "run", json_string(upgrade->ctx->run));
	rc = write_baseline(upgrade, baseline);
	json_decref(baseline);
	json_object_set_new(result, "baseline_ms", json_real(clock_monotonic_ms() - began));
	return rc;
}

int
compare_end(const Upgrade *upgrade, PGconn *conn, json_t *result)
{
	double		began = clock_monotonic_ms();
	json_t	   *before = read_baseline(upgrade);
	Comparison	all = {json_array(), json_array(), 0, 0};
	int			rc = 0;

	action_progress(upgrade->ctx, -1, "comparing what the new server holds");
	if (before)
	{
		json_t	   *after = look(upgrade->new, conn, began + COMPARE_MS);

		compare(&all, before, after);
		json_decref(after);
	}
	else
		add(all.unknown, "", "nothing is known of what the old server held");
	tell(&all, result);
	json_object_set(result, "not_compared", all.unknown);
	json_object_set_new(result, "compare_ms", json_real(clock_monotonic_ms() - began));
	if (json_array_size(all.differences) > 0)
		rc = fail_with(upgrade->ctx, all.differences);
	json_decref(all.differences);
	json_decref(all.unknown);
	json_decref(before);
	return rc;
}
