/*
 * slots.c
 *		slot.ensure, slot.drop: physical replication slots of the local server.
 */
#include <string.h>

#include "agent/action/slots.h"
#include "agent/job/job.h"
#include "agent/job/params.h"
#include "agent/job/table.h"
#include "agent/pg/pg.h"
#include "common/names.h"
#include "common/sqlstate.h"

#define SLOT_TIMEOUT_MS 10000

/* A slot's name as PostgreSQL allows it */
static bool
slot_name_valid(const char *name)
{
	return name && *name && strlen(name) < 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") ==
		strlen(name);
}

static json_t *
slot_list(ActionContext *ctx, json_t *params, const char *key)
{
	json_t	   *list = json_object_get(params, key);
	json_t	   *name;
	size_t		i;

	if (!json_is_array(list))
	{
		action_fail(ctx, STATE_INVALID_PARAMETER, "\"%s\" must be a list of slot names", key);
		return NULL;
	}
	json_array_foreach(list, i, name)
		if (!slot_name_valid(json_string_value(name)))
		{
			action_fail(ctx, STATE_INVALID_PARAMETER, "entry %zu of \"%s\" is not the name of a slot", i + 1, key);
			return NULL;
		}
	return list;
}

/* Runs a statement for one slot; a row means that it was done.  false: the job failed. */
static bool
for_slot(ActionContext *ctx, PGconn *conn, const char *sql, const char *name, json_t *done)
{
	PGresult   *res = pg_query_or_fail(ctx, conn, sql, 1, &name);

	if (!res)
		return false;
	if (PQntuples(res) > 0)
		json_array_append_new(done, json_string(name));
	PQclear(res);
	return true;
}

/* Those that are not there, and those that an earlier life of this agent was about to create. */
static json_t *
slots_to_create(ActionContext *ctx, PGconn *conn, json_t *slots)
{
	static const char missing[] =
		"SELECT WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1)";
	json_t	   *kept = json_object_get(action_kept(ctx), "created");
	json_t	   *names = json_array();
	json_t	   *name;
	size_t		i;

	json_array_foreach(slots, i, name)
	{
		if (param_names(kept, json_string_value(name)))
			json_array_append(names, name);
		else if (!for_slot(ctx, conn, missing, json_string_value(name), names))
		{
			json_decref(names);
			return NULL;
		}
	}
	return names;
}

/* Both workers may ask at once: the second one finds the slot there, and did not create it. */
static void
remove_name(json_t *names, const char *name)
{
	for (size_t i = json_array_size(names); i-- > 0;)
		if (strcmp(json_string_value(json_array_get(names, i)), name) == 0)
			json_array_remove(names, i);
}

static bool
ensure_one(ActionContext *ctx, PGconn *conn, const char *name, json_t *created)
{
	static const char create[] =
		"SELECT pg_catalog.pg_create_physical_replication_slot($1, true) "
		"WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots WHERE slot_name = $1)";
	static const char exists[] =
		"SELECT slot_type FROM pg_catalog.pg_replication_slots WHERE slot_name = $1";
	PGresult   *res = pg_query(conn, NULL, 0, create, 1, &name);
	bool		physical;

	if (!res)					/* in between it was created */
		res = pg_query_or_fail(ctx, conn, create, 1, &name);
	if (!res)
		return false;
	if (PQntuples(res) == 0 && !ctx->resumed)	/* an earlier life may have created it */
		remove_name(created, name);
	PQclear(res);
	res = pg_query_or_fail(ctx, conn, exists, 1, &name);
	physical = res && PQntuples(res) == 1 && strcmp(PQgetvalue(res, 0, 0), "physical") == 0;
	PQclear(res);
	if (!physical)
		action_fail(ctx, STATE_DUPLICATE_OBJECT, "there is a logical slot with the name \"%s\"", name);
	return physical;
}

int
action_slot_ensure(ActionContext *ctx, json_t *params, json_t *result)
{
	json_t	   *slots = slot_list(ctx, params, "slots");
	PGconn	   *conn = slots ? pg_local_or_fail(ctx, NULL, SLOT_TIMEOUT_MS) : NULL;
	json_t	   *created = conn ? slots_to_create(ctx, conn, slots) : NULL;
	json_t	   *name;
	size_t		i;
	int			rc = created ? 0 : -1;

	if (created)
		json_object_set_new(result, "created", created);
	if (rc == 0 && json_array_size(created) > 0)
		rc = action_keep(ctx, result);
	json_array_foreach(slots, i, name)
		if (rc == 0 && !ensure_one(ctx, conn, json_string_value(name), created))
			rc = -1;
	PQfinish(conn);
	return rc;
}

/* What the jobs of this run have created, or were about to. NULL, the job failed: one of them still does. */
static json_t *
created_by_run(ActionContext *ctx)
{
	json_t	   *names = json_array();
	bool		ended = true;

	pthread_mutex_lock(&jobs_lock);
	for (Job *job = job_table; job; job = job->next)
		for (size_t i = 0; strcmp(job->run, ctx->run) == 0 && i < job->nparts; i++)
		{
			if (strcmp(param_string(json_array_get(job->actions, i), "action", ""), ACTION_SLOT_ENSURE) != 0)
				continue;
			ended &= job->state != JOB_RUNNING;
			json_array_extend(names, json_object_get(job->parts[i].result, "created"));
		}
	pthread_mutex_unlock(&jobs_lock);
	if (ended)
		return names;
	json_decref(names);
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the slots of this run are still being created");
	return NULL;
}

/* Of the names "slots"; or, with "of_run", of all that this run has created here. */
int
action_slot_drop(ActionContext *ctx, json_t *params, json_t *result)
{
	static const char sql[] =
		"SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots "
		"WHERE slot_name = $1 AND slot_type = 'physical' AND NOT active";
	json_t	   *slots = param_bool(params, "of_run", false) ? created_by_run(ctx) :
		json_incref(slot_list(ctx, params, "slots"));
	PGconn	   *conn = slots ? pg_local_or_fail(ctx, NULL, SLOT_TIMEOUT_MS) : NULL;
	json_t	   *dropped = json_array();
	json_t	   *name;
	size_t		i;
	int			rc = conn ? 0 : -1;

	if (conn)
		json_array_foreach(slots, i, name)
			if (rc == 0 && !for_slot(ctx, conn, sql, json_string_value(name), dropped))
				rc = -1;
	PQfinish(conn);
	json_decref(slots);
	json_object_set_new(result, "dropped", dropped);
	return rc;
}
