/*
 * baton.c - a failover that has no row yet: a file in the data directory.
 *
 * Temporary name, fsync, rename, fsync of the directory: it is there as a whole, or not at all. A file that cannot be
 * understood is put aside, so that the worker does not stumble over it for ever, and the log says so.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

#include "gate/file.h"
#include "gate/sealing.h"
#include "worker/baton.h"
#include "worker/db.h"
#include "worker/settings.h"

#define BATON_BROKEN	PINGPONG_BATON_FILE ".broken"
#define BATON_MAX		(256 * 1024)

/* ---- the run as JSON ---- */

static json_t *
steps_json(Run *run)
{
	json_t	   *steps = json_array();

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *s = &run->steps[i];
		json_t	   *step = json_pack("{s:i, s:s, s:s, s:s, s:s}", "ordinal", s->ordinal, "action", s->name, "node",
									 s->node, "state", step_state_name(s->state), "message", s->message);
		json_t	   *detail = step_detail(s);

		if (detail)
			json_object_set_new(step, "detail", detail);
		json_array_append_new(steps, step);
	}
	return steps;
}

json_t *
baton_json(Run *run)
{
	return json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:O, s:s, s:O, s:s, s:s, s:b, s:o}", "key", run->key, "id",
					 (json_int_t) run->id, "runbook", run->runbook, "source", run->source, "target", run->target,
					 "epoch", (json_int_t) run->epoch, "options", run->options, "requested_by", run->requested_by,
					 "notes", run->notes, "begun_by", worker_self(), "started_at",
					 timestamptz_to_str(run->begun_at), "ordered", (int) run->ordered, "steps", steps_json(run));
}

/* ---- the file ---- */

void
baton_write(Run *run)
{
	json_t	   *json = baton_json(run);
	char	   *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	char	   *copy = text ? pstrdup(text) : NULL;

	free(text);
	json_decref(json);
	if (copy == NULL)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("the failover could not be described")));
	gate_file_write(PINGPONG_BATON_FILE, copy, strlen(copy));
	pfree(copy);
}

void
baton_remove(void)
{
	if (access(PINGPONG_BATON_FILE, F_OK) == 0)
		durable_unlink(PINGPONG_BATON_FILE, LOG);
}

static void
put_aside(const char *why)
{
	ereport(LOG, (errmsg("\"%s\" is of no use here, and becomes \"%s\": %s", PINGPONG_BATON_FILE, BATON_BROKEN,
						 why)));
	durable_rename(PINGPONG_BATON_FILE, BATON_BROKEN, LOG);
}

/* Release it; NULL: there is none. ERROR: it is there, and cannot be read. */
static json_t *
read_file(void)
{
	int			fd = OpenTransientFile(PINGPONG_BATON_FILE, O_RDONLY | PG_BINARY);
	char	   *text;
	ssize_t		len;
	json_t	   *json;
	json_error_t err;

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", PINGPONG_BATON_FILE)));
	text = palloc(BATON_MAX + 1);
	len = read(fd, text, BATON_MAX);
	if (len < 0)
		ereport(ERROR, (errcode_for_file_access(), errmsg("could not read file \"%s\": %m", PINGPONG_BATON_FILE)));
	CloseTransientFile(fd);
	text[len] = '\0';
	json = json_loads(text, JSON_REJECT_DUPLICATES, &err);
	pfree(text);
	if (json == NULL || protocol_text(json, "key")[0] == '\0' || protocol_text(json, "target")[0] == '\0' ||
		!json_is_object(json_object_get(json, "options")) || !json_is_object(json_object_get(json, "notes")))
	{
		put_aside(json ? "it names no run" : err.text);
		json_decref(json);
		return NULL;
	}
	return json;
}

/* ---- on a standby ---- */

static void
take_step(Run *run, json_t *was)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (step->ordinal != json_integer_value(json_object_get(was, "ordinal")) ||
			strcmp(step->name, protocol_text(was, "action")) != 0 ||
			strcmp(step->node, protocol_text(was, "node")) != 0)
			continue;
		step->state = step_state_from(protocol_text(was, "state"));
		strlcpy(step->message, protocol_text(was, "message"), sizeof(step->message));
		step_keep(step, json_object_get(was, "detail"));
	}
}

void
baton_take_steps(Run *run, json_t *baton)
{
	json_t	   *was;
	size_t		i;

	json_array_foreach(json_object_get(baton, "steps"), i, was)
		take_step(run, was);
}

json_t *
baton_find(Run *run)
{
	json_t	   *json = read_file();

	if (json == NULL || strcmp(protocol_text(json, "begun_by"), worker_self()) != 0)
	{
		json_decref(json);		/* another node has begun it: this one is its target, and only that */
		return NULL;
	}
	run->unrecorded = true;
	run->moves = true;
	run->id = json_integer_value(json_object_get(json, "id"));
	run->epoch = json_integer_value(json_object_get(json, "epoch"));
	run->ordered = json_is_true(json_object_get(json, "ordered"));
	run->begun_at = GetCurrentTimestamp();
	strlcpy(run->key, protocol_text(json, "key"), sizeof(run->key));
	strlcpy(run->runbook, protocol_text(json, "runbook"), sizeof(run->runbook));
	strlcpy(run->source, protocol_text(json, "source"), sizeof(run->source));
	strlcpy(run->target, protocol_text(json, "target"), sizeof(run->target));
	strlcpy(run->requested_by, protocol_text(json, "requested_by"), sizeof(run->requested_by));
	strlcpy(run->state, "running", sizeof(run->state));
	run->options = json_incref(json_object_get(json, "options"));
	json_decref(run->notes);
	run->notes = json_incref(json_object_get(json, "notes"));
	return json;
}

/* ---- on a primary ---- */

static bool
is_for_here(json_t *json)
{
	return strcmp(protocol_text(json, "target"), worker_self()) == 0;
}

int64
baton_of_here(char *key, size_t size)
{
	json_t	   *json = read_file();
	int64		epoch = json && is_for_here(json) ? json_integer_value(json_object_get(json, "epoch")) : 0;

	strlcpy(key, epoch > 0 ? protocol_text(json, "key") : "", size);
	json_decref(json);
	return epoch;
}

/*
 * Of a failover that was begun here to another node, by a server that is a primary now: it is not known here what
 * became of it, and nothing of it can be undone by a server that has become a primary otherwise.
 */
static const char *
sentence_of(json_t *json)
{
	return is_for_here(json) ? NULL :
		psprintf("It was begun here while this server was a standby, which has become a primary otherwise. Make sure "
				 "that \"%s\" takes no writes.", protocol_text(json, "target"));
}

/*
 * A failover takes an epoch above all that was known where it was begun. One that is not above a run which moves the
 * primary now is not what has promoted this server: it came to nothing, and its file was left. A run to another
 * target may have the same epoch: it was begun on a primary that died before the failover could know of it.
 */
static bool
is_outdated(const char *text)
{
	return db_exec("SELECT FROM (SELECT ($1::pg_catalog.jsonb ->> 'epoch')::pg_catalog.int8) b (epoch) "
				   "WHERE b.epoch < (SELECT max(c.epoch) FROM pingpong.cluster c) "
				   "OR EXISTS (SELECT FROM pingpong.run r WHERE r.state = 'running' "
				   "AND (r.epoch > b.epoch OR r.epoch = b.epoch AND r.target = $2) "
				   "AND EXISTS (SELECT FROM pingpong.runbook_step s WHERE s.runbook = r.runbook "
				   "AND s.mark = 'no_return'))", 2, text, worker_self()) > 0;
}

/* false: it is not what promoted this server. */
static bool
store_rows(json_t *json, const char *text)
{
	bool		outdated = false;
	const char *sentence = sentence_of(json);
	const char *key = protocol_text(json, "key");

	db_begin();
	db_exec("LOCK TABLE pingpong.run IN SHARE ROW EXCLUSIVE MODE", 0);
	if (db_exec("SELECT FROM pingpong.run WHERE key = $1", 1, key) == 0 && !(outdated = is_outdated(text)))
	{
		db_exec("UPDATE pingpong.run SET state = 'rolled_back', ended_at = pg_catalog.clock_timestamp(), sentence = "
				"'Its primary was replaced by a failover before it had ended.' WHERE state = 'running'", 0);
		db_exec("INSERT INTO pingpong.cluster AS c (epoch) "
				"SELECT ($1::pg_catalog.jsonb ->> 'epoch')::pg_catalog.int8 "
				"ON CONFLICT (one) DO UPDATE SET epoch = greatest(c.epoch, EXCLUDED.epoch)", 1, text);
		db_exec("INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state, options, requested_by, "
				"started_at, notes, sentence, ended_at) "
				"SELECT greatest((SELECT coalesce(max(o.id), 0) + 1 FROM pingpong.run o), r.id), r.key, r.runbook, "
				"r.source, r.target, r.epoch, CASE WHEN $2 IS NULL THEN 'running' ELSE 'stuck' END, r.options, "
				"r.requested_by, r.started_at, r.notes, $2, "
				"CASE WHEN $2 IS NOT NULL THEN pg_catalog.clock_timestamp() END "
				"FROM pg_catalog.jsonb_populate_record(NULL::pingpong.run, $1::pg_catalog.jsonb) r", 2, text,
				sentence);
		db_exec("INSERT INTO pingpong.step (run, ordinal, action, node, state, detail, message) "
				"SELECT r.id, s.ordinal, s.action, s.node, s.state, s.detail, nullif(s.message, '') "
				"FROM pingpong.run r, "
				"pg_catalog.jsonb_populate_recordset(NULL::pingpong.step, $2::pg_catalog.jsonb -> 'steps') s "
				"WHERE r.key = $1", 2, key, text);
	}
	db_end();
	return !outdated;
}

void
baton_adopt(void)
{
	json_t	   *json = read_file();
	char	   *text;
	char	   *copy;
	bool		stored = true;

	if (json == NULL)
		return;
	text = json_dumps(json, JSON_COMPACT);
	copy = pstrdup(text);
	free(text);
	/* a copy of another server's file came with a base backup, and is about neither of us */
	if (is_for_here(json) || strcmp(protocol_text(json, "begun_by"), worker_self()) == 0)
		stored = store_rows(json, copy);
	json_decref(json);
	XLogFlush(gate_insert_end());
	if (stored)
		baton_remove();
	else
		put_aside("a later run has moved the primary, or moves it now");
}
