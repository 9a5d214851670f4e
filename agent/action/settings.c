/*
 * settings.c
 *		pg.setting: settings of the local server, changed during a run and restored.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/action/settings.h"
#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/log.h"
#include "agent/job/params.h"
#include "agent/pg/formats.h"
#include "agent/pg/originals.h"
#include "agent/pg/pg.h"
#include "common/sqlstate.h"

#define SETTING_TIMEOUT_MS 5000
#define SEEN_TRIES 500			/* of 2 ms */
#define CHANGE_TRIES 100		/* of 10 ms, when other jobs change the same setting */

static const char *const our_settings[] = {"synchronous_standby_names", "wal_init_zero", "wal_writer_delay", NULL};

static bool
setting_allowed(const char *name)
{
	for (int i = 0; our_settings[i]; i++)
		if (strcmp(name, our_settings[i]) == 0)
			return true;
	return false;
}

static int
alter_system(ActionContext *ctx, PGconn *conn, const char *name, const char *value)
{
	char	   *literal = value ? sql_literal(value) : NULL;
	char	   *sql = value ? xasprintf("ALTER SYSTEM SET %s = %s", name, literal)
		: xasprintf("ALTER SYSTEM RESET %s", name);
	PGresult   *res = pg_query_or_fail(ctx, conn, sql, 0, NULL);
	bool		done = res != NULL;

	PQclear(res);
	free(sql);
	free(literal);
	if (!done)
		return -1;
	res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.pg_reload_conf()", 0, NULL);
	done = res != NULL;
	PQclear(res);
	return done ? 0 : -1;
}

static char *
current_value(ActionContext *ctx, PGconn *conn, const char *name)
{
	const char *values[] = {name};
	PGresult   *res = pg_query_or_fail(ctx, conn, "SELECT pg_catalog.current_setting($1)", 1, values);
	char	   *value = res ? xstrdup(PQgetvalue(res, 0, 0)) : NULL;

	PQclear(res);
	return value;
}

/*
 * Has the server the old value again, now that it reads its files?  It says so in its own
 * units.  A third value is not the old one; it comes from elsewhere.  No answer is no, and no failure of the job.
 */
static bool
is_back(PGconn *conn, const char *name, const char *value, const char *ours)
{
	const char *values[] = {name};

	for (int i = 0; i < SEEN_TRIES; i++)
	{
		/* one look: the new value may come between two */
		PGresult   *res = pg_query(conn, NULL, 0, "SELECT pg_catalog.current_setting($1)", 1, values);
		bool		old = res && strcmp(PQgetvalue(res, 0, 0), value) == 0;
		bool		other = !res || strcmp(PQgetvalue(res, 0, 0), ours) != 0;

		PQclear(res);
		if (old || other)
			return old;
		sleep_ms(2);
	}
	return false;
}

/*
 * Without a memory of our own: where the value comes from elsewhere (postgresql.conf, the
 * default), our line must go, or that other place would be overruled for ever.
 */
static int
restore_told(ActionContext *ctx, PGconn *conn, const char *name, const char *value, const char *ours)
{
	if (!value || strcmp(value, ours) == 0)
		return 0;				/* it was restored before, or never changed */
	if (alter_system(ctx, conn, name, NULL) < 0)
		return -1;
	return is_back(conn, name, value, ours) ? 0 : alter_system(ctx, conn, name, value);
}

/* Killed before the memory is gone, it is done again: the same line is put back. */
static int
restore_original(ActionContext *ctx, PGconn *conn, const char *name, const Original *original, const char *ours)
{
	if (alter_system(ctx, conn, name, original->line) < 0)
		return -1;
	/* the next job must not take our value for the original */
	is_back(conn, name, original->value, ours);
	original_forget(ctx->pg, name, original);
	return 0;
}

/* Names to wait for, or a reset, are meant to stay; all else is for the time of a run. */
static bool
is_lasting(const char *name, const char *value)
{
	return !value || (*value && strcmp(name, "synchronous_standby_names") == 0);
}

/*
 * What is remembered and still holds: 1; 0: nothing, with *theirs where a person has set the value since; -1: the job
 * has failed.
 */
static int
recall(ActionContext *ctx, const char *name, Original *original, bool *theirs)
{
	int			known = original_read(ctx->pg, name, original);
	int			ours = known > 0 ? original_is_ours(ctx->pg, name, original) : known < 0 ? -1 : 1;

	*theirs = known > 0 && ours == 0;
	if (ours < 0)
	{
		original_free(original);
		return action_fail(ctx, STATE_IO_ERROR, "could not read what \"%s\" was: %s", name, strerror(errno));
	}
	if (*theirs)
	{
		log_warning("\"%s\" was set anew, or in another cluster, since run \"%s\" had changed it; it stays as it is",
					name, original->run ? original->run : "");
		original_forget(ctx->pg, name, original);
		original_free(original);
		return 0;
	}
	return known;
}

/* 1: another job has changed it meanwhile */
static int
change_setting(ActionContext *ctx, PGconn *conn, const char *name, const char *value, const Original *original,
			   const char *now)
{
	int			rc = 0;

	if (!is_lasting(name, value))
		rc = original_keep(ctx->pg, name, original, now, ctx->run, value);
	if (rc < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not note the value of \"%s\": %s", name, strerror(errno));
	if (rc > 0)
		return rc;
	if (alter_system(ctx, conn, name, value) < 0)
		return -1;
	if (is_lasting(name, value))
		original_forget(ctx->pg, name, original);
	return 0;
}

/* 1: another job has changed it meanwhile. What is remembered is read before the value: it is older, not newer. */
static int
set_or_restore(ActionContext *ctx, PGconn *conn, json_t *params, json_t *result)
{
	const char *name = param_string(params, "name", "");
	const char *value = param_string(params, "value", NULL);
	bool		restore = param_bool(params, "restore", false);
	Original	original;
	bool		theirs;
	int			known = recall(ctx, name, &original, &theirs);
	char	   *now = known < 0 ? NULL : current_value(ctx, conn, name);
	int			rc = -1;

	if (now)
	{
		json_object_set_new(result, "previous", json_string(known ? original.value : now));
		if (!restore && !(known && value && strcmp(original.value, value) == 0))
			rc = change_setting(ctx, conn, name, value, &original, now);
		else if (known)
			rc = restore_original(ctx, conn, name, &original, now);
		else
			rc = theirs ? 0 : restore_told(ctx, conn, name, value, now);
	}
	original_free(&original);
	free(now);
	return rc;
}

int
action_pg_setting(ActionContext *ctx, json_t *params, json_t *result)
{
	const char *name = param_string(params, "name", "");
	PGconn	   *conn;
	int			rc = 1;

	if (!setting_allowed(name))
		return action_fail(ctx, STATE_INSUFFICIENT_PRIVILEGE, "this setting is not one that the agent changes");
	if (!param_string(params, "value", NULL) && !json_is_null(json_object_get(params, "value")))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"value\" must be a string or null");
	conn = pg_local_or_fail(ctx, NULL, SETTING_TIMEOUT_MS);
	if (!conn)
		return -1;
	for (int i = 0; rc > 0 && i < CHANGE_TRIES && !action_cancelled(ctx); i++)
	{
		if (i > 0)
			sleep_ms(10);
		rc = set_or_restore(ctx, conn, params, result);
	}
	if (rc > 0)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "other jobs change \"%s\" at the same time", name);
	PQfinish(conn);
	return rc;
}

static int
put_back(ActionContext *ctx, PGconn **conn, const char *name)
{
	Original	original;
	bool		theirs;
	int			known = recall(ctx, name, &original, &theirs);
	char	   *now = NULL;

	if (known > 0 && !*conn)
		*conn = pg_local_or_fail(ctx, NULL, SETTING_TIMEOUT_MS);
	if (known > 0 && *conn)
		now = current_value(ctx, *conn, name);
	if (known > 0)
		known = now && restore_original(ctx, *conn, name, &original, now) == 0 ? 0 : -1;
	free(now);
	original_free(&original);
	return known;
}

void
settings_put_back(ActionContext *ctx)
{
	PGconn	   *conn = NULL;

	for (int i = 0; our_settings[i]; i++)
		if (put_back(ctx, &conn, our_settings[i]) < 0)
		{
			log_warning("could not put back \"%s\": %s", our_settings[i], action_error_message(ctx));
			action_forget_error(ctx);
		}
	PQfinish(conn);
}
