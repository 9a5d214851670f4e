/*
 * journal.c - the worker's tables. Every access is one short transaction: the
 * worker holds no snapshot or lock while it talks to an agent.
 *
 * All parameters travel as text and are cast in the statement.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "worker/journal.h"

static MemoryContext caller_context;

/* Opens the transaction that journal_exec needs; journal_end commits it. */
void
journal_begin(void)
{
	caller_context = CurrentMemoryContext;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, "pg_pingpong worker");
}

void
journal_end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(caller_context);
}

/* One statement with `n` text parameters (NULL allowed); gives the number of rows. */
uint64
journal_exec(const char *sql, int n,...)
{
	Oid			types[16];
	Datum		values[16];
	char		nulls[16];
	va_list		args;
	int			rc;

	Assert(n <= 16);
	va_start(args, n);
	for (int i = 0; i < n; i++)
	{
		const char *value = va_arg(args, const char *);

		types[i] = TEXTOID;
		nulls[i] = value ? ' ' : 'n';
		values[i] = value ? CStringGetTextDatum(value) : (Datum) 0;
	}
	va_end(args);
	rc = SPI_execute_with_args(sql, n, types, values, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "could not execute \"%s\": %s", sql, SPI_result_code_string(rc));
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
	return SPI_processed;
}

/* A column (from 1) of a row (from 0) of the last result, as text; NULL if null. */
char *
journal_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

static void
copy_text(char *to, size_t size, uint64 row, int column)
{
	char	   *value = journal_text(row, column);

	strlcpy(to, value ? value : "", size);
}

/* Whether the extension is there, of a version that this module knows. */
bool
journal_ready(void)
{
	bool		ready;

	journal_begin();
	ready = journal_exec("SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_pingpong'", 0) == 1;
	journal_end();
	return ready;
}

/* Nodes and routes as they are now, into `run` (allocated in the caller's context). */
void
journal_load_topology(Run *run)
{
	MemoryContext context = CurrentMemoryContext;
	uint64		n;

	journal_begin();
	if (run->epoch == 0 && journal_exec("SELECT epoch FROM pingpong.cluster", 0) == 1)
		run->epoch = strtoll(journal_text(0, 1), NULL, 10);
	n = journal_exec("SELECT name, kind, host, port, agent_url, slot, upstream, away_since IS NOT NULL FROM pingpong.node ORDER BY name", 0);
	run->nodes = MemoryContextAllocZero(context, Max(n, 1) * sizeof(RunNode));
	run->nnodes = (int) n;
	for (uint64 i = 0; i < n; i++)
	{
		RunNode    *node = &run->nodes[i];
		char	   *port = journal_text(i, 4);

		copy_text(node->name, sizeof(node->name), i, 1);
		copy_text(node->kind, sizeof(node->kind), i, 2);
		copy_text(node->host, sizeof(node->host), i, 3);
		node->port = port ? atoi(port) : 0;
		copy_text(node->url, sizeof(node->url), i, 5);
		copy_text(node->slot, sizeof(node->slot), i, 6);
		copy_text(node->upstream, sizeof(node->upstream), i, 7);
		node->away = strcmp(journal_text(i, 8), "t") == 0;
	}
	n = journal_exec("SELECT name, kind, router, endpoint, databases::pg_catalog.text, node, smoke FROM pingpong.route ORDER BY name", 0);
	run->routes = MemoryContextAllocZero(context, Max(n, 1) * sizeof(RunRoute));
	run->nroutes = (int) n;
	for (uint64 i = 0; i < n; i++)
	{
		RunRoute   *route = &run->routes[i];

		copy_text(route->name, sizeof(route->name), i, 1);
		copy_text(route->kind, sizeof(route->kind), i, 2);
		copy_text(route->router, sizeof(route->router), i, 3);
		copy_text(route->endpoint, sizeof(route->endpoint), i, 4);
		route->databases = MemoryContextStrdup(context, journal_text(i, 5));
		copy_text(route->node, sizeof(route->node), i, 6);
		route->smoke = journal_text(i, 7) ? MemoryContextStrdup(context, journal_text(i, 7)) : NULL;
	}
	journal_end();
}

/*
 * RO routes that no run has led yet lead where their routers just said, as preflight sees them; what is no node of
 * ours stays unknown.
 */
void
journal_find_routes(Run *run)
{
	uint64		n;

	journal_begin();
	n = journal_exec("UPDATE pingpong.route r SET node = s.node FROM (SELECT name, pg_catalog.min(node) AS node FROM pingpong.preflight_route "
					 "GROUP BY name HAVING pg_catalog.count(*) = pg_catalog.count(node) AND pg_catalog.count(DISTINCT node) = 1) s "
					 "WHERE r.name = s.name AND r.kind = 'ro' AND r.node IS NULL RETURNING r.name, r.node", 0);
	for (uint64 i = 0; i < n; i++)
	{
		RunRoute   *route = run_route(run, journal_text(i, 1));

		if (route)
			copy_text(route->node, sizeof(route->node), i, 2);
	}
	journal_end();
}

static OnFailure
failure_from(const char *name)
{
	return strcmp(name, "retry") == 0 ? FAIL_RETRY : strcmp(name, "continue") == 0 ? FAIL_CONTINUE : FAIL_UNDO;
}

static Step *
add_step(Run *run)
{
	if (run->nsteps == PP_STEPS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the runbook \"%s\" has more than %d steps", run->runbook, PP_STEPS)));
	return &run->steps[run->nsteps++];
}

/* A row for each node or route of a row of the runbook; to be read by read_step(). */
#define RUNBOOK_SQL \
	"SELECT s.ordinal, s.action, p.name, s.undo, s.on_failure, (EXTRACT(epoch FROM s.timeout) * 1000)::pg_catalog.int8, s.worker, " \
	"pingpong.guard_holds(s.guard, r), s.params::pg_catalog.text, s.requires " \
	"FROM pingpong.run r, pingpong.runbook_step s, pingpong.step_places(s, $2, $3) p (name) " \
	"WHERE s.runbook = $1 AND r.id = $4::pg_catalog.int8 ORDER BY s.ordinal, s.action, s.node, p.name"

static void
read_step(Run *run, Step *step, uint64 row, MemoryContext context)
{
	char	   *worker = journal_text(row, 7);

	step->ordinal = atoi(journal_text(row, 1));
	copy_text(step->name, sizeof(step->name), row, 2);
	copy_text(step->subject, sizeof(step->subject), row, 3);
	copy_text(step->undo, sizeof(step->undo), row, 4);
	step->on_failure = failure_from(journal_text(row, 5));
	step->timeout_ms = atoi(journal_text(row, 6));
	step->mine = strcmp(worker, "both") == 0 || (strcmp(worker, "target") == 0) == run->is_target;
	step->params = MemoryContextStrdup(context, journal_text(row, 9));
	copy_text(step->needs, sizeof(step->needs), row, 10);
	if (strcmp(journal_text(row, 8), "t") != 0)
		step->state = STEP_SKIPPED;
	step->action = action_find(step->name);
	if (step->action == NULL || (step->undo[0] && action_find(step->undo) == NULL))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("runbook \"%s\" names an unknown action \"%s\"", run->runbook,
							   step->action ? step->undo : step->name)));
}

/* Each row of the runbook becomes a step for each of its nodes or routes. */
static void
load_runbook(Run *run, const char *id, MemoryContext context)
{
	uint64		n = journal_exec(RUNBOOK_SQL, 4, run->runbook, run->source, run->target, id);

	for (uint64 i = 0; i < n; i++)
		read_step(run, add_step(run), i, context);
}

static Step *
find_step(Run *run, int ordinal, const char *name, const char *subject)
{
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].ordinal == ordinal && strcmp(run->steps[i].name, name) == 0 &&
			strcmp(run->steps[i].subject, subject) == 0)
			return &run->steps[i];
	return NULL;
}

/*
 * The steps of the run, from the runbook, with what the journal knows about
 * each. Both workers expand the same rows to the same steps.
 */
void
journal_load_steps(Run *run)
{
	MemoryContext context = CurrentMemoryContext;
	char		id[24];
	uint64		n;

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	run->steps = MemoryContextAllocZero(context, PP_STEPS * sizeof(Step));
	run->nsteps = 0;
	journal_begin();
	load_runbook(run, id, context);
	n = journal_exec("SELECT ordinal, action, node, state, attempt, detail::pg_catalog.text FROM pingpong.step "
					 "WHERE run = $1::pg_catalog.int8", 1, id);
	for (uint64 i = 0; i < n; i++)
	{
		Step	   *step = find_step(run, atoi(journal_text(i, 1)), journal_text(i, 2), journal_text(i, 3));

		if (step == NULL)
			continue;
		step->state = step_state_from(journal_text(i, 4));
		step->attempt = atoi(journal_text(i, 5));
		if (journal_text(i, 6))
			step->detail = MemoryContextStrdup(context, journal_text(i, 6));
	}
	journal_end();
}

/* Stores a new run: takes the next number and epoch. */
void
journal_create_run(Run *run)
{
	char	   *options = json_dumps(run->options, JSON_COMPACT);
	char		epoch[24];

	journal_begin();
	if (journal_exec("SELECT FROM pingpong.runbook_step WHERE runbook = $1", 1, run->runbook) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("runbook \"%s\" does not exist", run->runbook)));
	run->moves = journal_exec("SELECT FROM pingpong.runbook_step WHERE runbook = $1 AND action = 'promote'", 1, run->runbook) > 0;
	if (run->moves != (run->request == REQUEST_SWITCHOVER))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("runbook \"%s\" cannot be used for this", run->runbook),
						errdetail("Only a runbook with the action \"promote\" is a switchover.")));
	journal_exec("LOCK TABLE pingpong.run IN SHARE ROW EXCLUSIVE MODE", 0);
	journal_exec(run->moves ? "INSERT INTO pingpong.cluster (epoch) SELECT pingpong.adopted_epoch() + 1 "
				 "ON CONFLICT (one) DO UPDATE SET epoch = EXCLUDED.epoch RETURNING epoch" :
				 "SELECT pingpong.adopted_epoch()", 0);
	run->epoch = strtoll(journal_text(0, 1), NULL, 10);
	snprintf(epoch, sizeof(epoch), INT64_FORMAT, run->epoch);
	journal_exec("INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state, options, requested_by, preflight) "
				 "SELECT coalesce(max(id), 0) + 1, pg_catalog.gen_random_uuid()::pg_catalog.text, $1, $2, $3, "
				 "$7::pg_catalog.int8, 'running', $4::pg_catalog.jsonb, $5, "
				 "CASE WHEN $6 = 't' THEN (SELECT pg_catalog.jsonb_object_agg(status, n) FROM (SELECT status, pg_catalog.count(*) AS n "
				 " FROM pingpong.last_preflight GROUP BY status) AS s) END "
				 "FROM pingpong.run RETURNING id, key",
				 7, run->runbook, run->source, run->target, options, run->requested_by, run->moves ? "t" : "f", epoch);
	run->id = strtoll(journal_text(0, 1), NULL, 10);
	copy_text(run->key, sizeof(run->key), 0, 2);
	journal_end();
	free(options);
	strlcpy(run->state, "running", sizeof(run->state));
}

static char *
number(char *buf, double value)
{
	snprintf(buf, 32, "%.3f", value);
	return buf;
}

static const char *
moment(char *buf, TimestampTz at)
{
	if (at == 0)
		return NULL;
	strlcpy(buf, timestamptz_to_str(at), 64);
	return buf;
}

/* Where the routes lead that this run has led somewhere: of what was told, what their routers said it is. */
static void
save_routes(Run *run)
{
	for (int i = 0; i < run->nsteps; i++)
	{
		RunRoute   *route = strcmp(run->steps[i].name, "repoint") == 0 ? run_route(run, run->steps[i].subject) : NULL;

		if (route && route->node[0] && run->steps[i].state == STEP_SUCCEEDED && !(run->moves && !run->is_target))
			journal_exec("UPDATE pingpong.route SET node = $2 WHERE name = $1 AND node IS DISTINCT FROM $2", 2, route->name, route->node);
	}
}

/* All steps as they are now, and where the routes lead now. */
void
journal_save_steps(Run *run)
{
	char		id[24],
				ordinal[16],
				attempt[16],
				ms[32],
				started[64],
				ended[64];

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	journal_begin();
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		snprintf(ordinal, sizeof(ordinal), "%d", step->ordinal);
		snprintf(attempt, sizeof(attempt), "%d", step->attempt);
		journal_exec("INSERT INTO pingpong.step AS s (run, ordinal, action, node, state, undo, started_at, ended_at, "
					 "duration_ms, attempt, detail, message) VALUES ($1::pg_catalog.int8, $2::pg_catalog.int4, $3, $4, $5, $6, "
					 "$7::pg_catalog.timestamptz, $8::pg_catalog.timestamptz, $9::pg_catalog.float8, $10::pg_catalog.int4, "
					 "$11::pg_catalog.jsonb, $12) ON CONFLICT (run, ordinal, action, node) DO UPDATE SET "
					 "state = EXCLUDED.state, started_at = coalesce(EXCLUDED.started_at, s.started_at), "
					 "ended_at = coalesce(EXCLUDED.ended_at, s.ended_at), "
					 "duration_ms = coalesce(EXCLUDED.duration_ms, s.duration_ms), attempt = EXCLUDED.attempt, "
					 "detail = coalesce(EXCLUDED.detail, s.detail), message = EXCLUDED.message "
					 "WHERE (s.state, s.attempt, s.message, s.started_at, s.ended_at) IS DISTINCT FROM "
					 "(EXCLUDED.state, EXCLUDED.attempt, EXCLUDED.message, EXCLUDED.started_at, EXCLUDED.ended_at)",
					 12, id, ordinal, step->name, step->subject, step_state_name(step->state),
					 step->undo[0] ? step->undo : NULL, moment(started, step->started), moment(ended, step->ended),
					 step->ended ? number(ms, step->ms) : NULL, attempt, step->detail,
					 step->message[0] ? step->message : NULL);
	}
	save_routes(run);
	journal_end();
}

/*
 * Whether this server is the primary by this run: from the promotion that was confirmed, wherever the routes lead. A
 * run that ends so has moved the primary, also when it is stuck.
 */
static bool
has_moved_here(Run *run)
{
	Step	   *promote = run_promote_step(run);

	return run->is_target && promote && promote->state == STEP_SUCCEEDED;
}

/* The run's own row: state, blackout, sentence. */
void
journal_save_run(Run *run)
{
	char		id[24],
				ms[32],
				lsn[32];
	char	   *notes = json_dumps(run->notes, JSON_COMPACT);
	bool		switched = run->switched || (has_moved_here(run) && strcmp(run->state, "running") != 0);

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	snprintf(lsn, sizeof(lsn), "%X/%X", LSN_FORMAT_ARGS(run->seal_lsn));
	journal_begin();
	journal_exec("UPDATE pingpong.run SET state = $2, blackout_ms = coalesce($3::pg_catalog.float8, blackout_ms), "
				 "seal_lsn = coalesce($4::pg_catalog.pg_lsn, seal_lsn), sentence = coalesce($5, sentence), "
				 "notes = notes || $6::pg_catalog.jsonb, "
				 "switched_at = CASE WHEN $7 = 't' THEN coalesce(switched_at, pg_catalog.clock_timestamp()) ELSE switched_at END, "
				 "ended_at = CASE WHEN $2 = 'running' THEN NULL ELSE coalesce(ended_at, pg_catalog.clock_timestamp()) END "
				 "WHERE id = $1::pg_catalog.int8",
				 7, id, run->state, run->blackout_ms >= 0 ? number(ms, run->blackout_ms) : NULL,
				 run->seal_lsn != InvalidXLogRecPtr ? lsn : NULL, run->sentence[0] ? run->sentence : NULL,
				 notes ? notes : "{}", switched ? "t" : "f");
	if (has_moved_here(run))
		journal_exec("UPDATE pingpong.node SET upstream = NULL WHERE name = $1 OR upstream IN ($1, $2)", 2, run->target, run->source);
	journal_end();
	free(notes);
}

/* The last run that has not ended, without its steps; false if there is none. */
bool
journal_find_unfinished(Run *run)
{
	bool		found;
	json_error_t err;

	journal_begin();
	found = journal_exec("SELECT id, key, runbook, coalesce(source, ''), target, epoch, state, options::pg_catalog.text, requested_by, "
						 "notes::pg_catalog.text, blackout_ms, EXISTS (SELECT FROM pingpong.runbook_step s "
						 "WHERE s.runbook = run.runbook AND s.action = 'promote'), switched_at IS NOT NULL FROM pingpong.run WHERE state = 'running' ORDER BY id DESC LIMIT 1", 0) == 1;
	if (found)
	{
		run->id = strtoll(journal_text(0, 1), NULL, 10);
		copy_text(run->key, sizeof(run->key), 0, 2);
		copy_text(run->runbook, sizeof(run->runbook), 0, 3);
		copy_text(run->source, sizeof(run->source), 0, 4);
		copy_text(run->target, sizeof(run->target), 0, 5);
		run->epoch = strtoll(journal_text(0, 6), NULL, 10);
		copy_text(run->state, sizeof(run->state), 0, 7);
		run->options = json_loads(journal_text(0, 8), 0, &err);
		copy_text(run->requested_by, sizeof(run->requested_by), 0, 9);
		json_decref(run->notes);
		run->notes = json_loads(journal_text(0, 10), 0, &err);
		run->moves = strcmp(journal_text(0, 12), "t") == 0;
		run->switched = strcmp(journal_text(0, 13), "t") == 0;
		run->blackout_ms = journal_text(0, 11) ? strtod(journal_text(0, 11), NULL) : -1;
	}
	journal_end();
	return found;
}

/* Whether a commit finds the standbys that it has to wait for, or need not wait. */
bool
journal_synchronous(void)
{
	bool		satisfied;

	journal_begin();
	satisfied = journal_exec("SELECT WHERE pingpong.sync_satisfiable(pg_catalog.current_setting('synchronous_standby_names'))", 0) == 1;
	journal_end();
	return satisfied;
}

/* Whether a commit that waits for these names would find enough of them streaming. */
bool
journal_satisfiable(const char *names)
{
	bool		satisfied;

	journal_begin();
	satisfied = journal_exec("SELECT WHERE pingpong.sync_satisfiable($1)", 1, names) == 1;
	journal_end();
	return satisfied;
}

/* What the standbys of this server call themselves, with their nodes' names: {"application_name": "node"}; release it. */
json_t *
journal_standby_names(void)
{
	json_t	   *names = json_new();
	uint64		n;

	journal_begin();
	n = journal_exec("SELECT application_name, node FROM pingpong.preflight_sender WHERE node IS NOT NULL AND state <> 'backup'", 0);
	for (uint64 i = 0; i < n; i++)
		json_object_set_new(names, journal_text(i, 1), json_string(journal_text(i, 2)));
	journal_end();
	return names;
}

/* ---- what runs relaxed ---- */

/* What the setting of the node is to be again, palloc'd; NULL: nothing, or not known. */
char *
journal_relaxed(const char *node, const char *setting)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *wanted = NULL;

	journal_begin();
	if (journal_exec("SELECT wanted FROM pingpong.relaxed WHERE node = $1 AND name = $2", 2, node, setting) == 1 && journal_text(0, 1))
		wanted = MemoryContextStrdup(context, journal_text(0, 1));
	journal_end();
	return wanted;
}

static bool
is_restored(Run *run, const Relaxation *r, Step *relaxing)
{
	for (int i = 0; i < run->nsteps; i++)
		if (strcmp(run->steps[i].name, r->restore) == 0 && strcmp(run->steps[i].subject, relaxing->subject) == 0 &&
			run->steps[i].state == STEP_SUCCEEDED)
			return true;
	return relaxing->state == STEP_UNDONE;
}

/* At the end of a run: what it relaxed and did not put back is remembered, what it put back is forgotten. */
void
journal_save_relaxed(Run *run)
{
	char		id[24];

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];
		const Relaxation *r = relaxation_of(step->name);
		bool		relaxes = r && strcmp(r->relax, step->name) == 0;
		char	   *wanted;

		if (r == NULL || step->state == STEP_PENDING || step->state == STEP_SKIPPED || (!relaxes && step->state != STEP_SUCCEEDED))
			continue;
		wanted = relaxation_wanted(run, r, step->subject);
		journal_begin();
		if (!relaxes || is_restored(run, r, step) || (wanted && strcmp(wanted, r->relaxed) == 0))
			journal_exec("DELETE FROM pingpong.relaxed WHERE node = $1 AND name = $2", 2, step->subject, r->setting);
		else
			journal_exec("INSERT INTO pingpong.relaxed (node, name, value, wanted, run) VALUES ($1, $2, $3, $4, $5::pg_catalog.int8) "
						 "ON CONFLICT (node, name) DO UPDATE SET value = EXCLUDED.value, wanted = coalesce(EXCLUDED.wanted, relaxed.wanted), "
						 "since = EXCLUDED.since, run = EXCLUDED.run", 5, step->subject, r->setting, r->relaxed, wanted, id);
		journal_end();
	}
}

/* Forgets what a person has set since on this server; true if something can be restored now. */
bool
journal_relaxed_due(void)
{
	bool		due;

	journal_begin();
	journal_exec("DELETE FROM pingpong.relaxed WHERE node = pingpong.node_name() AND pg_catalog.current_setting(name) IS DISTINCT FROM value", 0);
	due = journal_exec("SELECT FROM pingpong.relaxed_due() LIMIT 1", 0) == 1;
	journal_end();
	return due;
}

/* Whether somebody waits for the node at all. */
void
journal_set_away(const char *node, bool away)
{
	journal_begin();
	journal_exec("UPDATE pingpong.node SET away_since = CASE WHEN $2 = 't' THEN pg_catalog.clock_timestamp() END "
				 "WHERE name = $1 AND (away_since IS NULL) = ($2 = 't')", 2, node, away ? "t" : "f");
	journal_end();
}

/* The seal behind which this server became the primary, and the timeline that it ended; unchanged if no run did that. */
void
journal_last_seal(int *timeline, XLogRecPtr *lsn)
{
	uint32		hi,
				lo;

	journal_begin();
	if (journal_exec("SELECT seal_lsn, notes ->> 'timeline' FROM pingpong.run WHERE switched_at IS NOT NULL AND target = $1 "
					 "AND seal_lsn IS NOT NULL AND notes ->> 'timeline' ~ '^[0-9]{1,9}$' ORDER BY id DESC LIMIT 1", 1, worker_self()) == 1 &&
		sscanf(journal_text(0, 1), "%X/%X", &hi, &lo) == 2)
	{
		*lsn = ((uint64) hi << 32) | lo;
		*timeline = atoi(journal_text(0, 2));
	}
	journal_end();
}

/*
 * A rebuild or repoint that succeeded may have mended what left an earlier run
 * stuck: when nothing of it is broken any more, it has ended well.
 */
void
journal_close_mended(Run *run)
{
	char		id[24];

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	journal_begin();
	journal_exec("UPDATE pingpong.step s SET state = 'succeeded', message = 'mended by run ' || $1 FROM pingpong.run r, pingpong.step m "
				 "WHERE r.id = s.run AND r.state = 'stuck' AND s.state = 'failed' AND m.run = $1::pg_catalog.int8 AND m.state = 'succeeded' "
				 "AND m.node = s.node AND (m.action = s.action OR (m.action = 'rejoin' AND s.action = 'follow')) "
				 /* repoint() does not look at standbys */
				 "AND (s.action <> 'verify' OR m.message IS NOT NULL OR s.message LIKE 'no client can write:%')", 1, id);
	journal_exec("UPDATE pingpong.run r SET state = 'succeeded', sentence = 'Mended by run ' || $1 || '.' || coalesce((SELECT ' What failed, too: step ' "
				 "|| pg_catalog.string_agg(s.action || ' of \"' || s.node || '\": ' || s.message, '; ' ORDER BY s.ordinal) FROM pingpong.step s "
				 "WHERE s.run = r.id AND s.state = 'failed'), '') WHERE r.state = 'stuck' "
				 "AND EXISTS (SELECT FROM pingpong.step s WHERE s.run = r.id AND s.message = 'mended by run ' || $1) "
				 "AND NOT EXISTS (SELECT FROM pingpong.step s WHERE s.run = r.id AND s.state = 'failed' "
				 "AND (s.action IN ('rejoin', 'follow', 'repoint', 'smoke') OR s.message LIKE 'no client can write:%'))", 1, id);
	/* it had moved the primary away, and an operator has overruled it: its target follows this server now */
	journal_exec("UPDATE pingpong.run r SET state = 'rolled_back', sentence = 'Overruled by an operator; mended by run ' || $1 || '.' "
				 "FROM pingpong.step m WHERE r.state = 'stuck' AND r.source = $2 AND m.run = $1::pg_catalog.int8 AND m.action = 'rejoin' "
				 "AND m.state = 'succeeded' AND m.node = r.target AND EXISTS (SELECT FROM pingpong.step p WHERE p.run = r.id AND p.action = 'promote')",
				 2, id, worker_self());
	journal_end();
}

/* A run that cannot be worked on: it ends here, with the reason. */
void
journal_give_up(int64 id, const char *state, const char *sentence)
{
	char		number[24];

	snprintf(number, sizeof(number), INT64_FORMAT, id);
	journal_begin();
	journal_exec("UPDATE pingpong.run SET state = $2, sentence = $3, ended_at = pg_catalog.clock_timestamp() "
				 "WHERE id = $1::pg_catalog.int8 AND state = 'running'", 3, number, state, sentence);
	journal_end();
}

/* What the agent of a node is to try for a move to the target; release it. */
json_t *
journal_facts_params(const char *node, const char *target)
{
	json_error_t err;
	json_t	   *params = NULL;

	journal_begin();
	if (journal_exec("SELECT pingpong.facts_params($1, $2)", 2, node, target) == 1 && journal_text(0, 1))
		params = json_loads(journal_text(0, 1), 0, &err);
	journal_end();
	return params ? params : json_new();
}

/* What an agent told about its host, for preflight. */
void
journal_store_fact(const char *node, bool ok, const char *error, const char *facts)
{
	journal_begin();
	journal_exec("INSERT INTO pingpong.node_fact (node, at, ok, error, facts) "
				 "SELECT $1, pg_catalog.clock_timestamp(), $2 = 't', $3, $4::pg_catalog.jsonb "
				 "FROM pingpong.node WHERE name = $1 "
				 "ON CONFLICT (node) DO UPDATE SET at = EXCLUDED.at, ok = EXCLUDED.ok, error = EXCLUDED.error, facts = EXCLUDED.facts",
				 4, node, ok ? "t" : "f", error, facts);
	journal_end();
}

/*
 * Makes the checks and keeps their rows in pingpong.last_preflight. Gives the
 * number that failed, and a verdict whose detail shows them.
 */
int
journal_preflight(Run *run, Verdict *verdict)
{
	char	   *options = json_dumps(run->options, JSON_COMPACT);
	uint64		n;
	size_t		used = 0;

	journal_begin();
	journal_exec("DELETE FROM pingpong.last_preflight", 0);
	journal_exec("INSERT INTO pingpong.last_preflight "
				 "SELECT number, name, node, status, detail, hint FROM pingpong.preflight_checks($1, $2::pg_catalog.jsonb)",
				 2, run->target, options);
	n = journal_exec("SELECT name || coalesce(' (' || node || ')', '') || ': ' || detail || coalesce('. ' || hint, '') "
					 "FROM pingpong.last_preflight WHERE status = 'fail' ORDER BY number, name, node", 0);
	if (n > 0)
	{
		verdict_set(verdict, "55000", "preflight found what stands against this switchover");
		for (uint64 i = 0; i < n && used < sizeof(verdict->detail) - 1; i++)
			used += snprintf(verdict->detail + used, sizeof(verdict->detail) - used, "%sfail: %s",
							 i ? "\n" : "", journal_text(i, 1));
		snprintf(verdict->hint, sizeof(verdict->hint),
				 "All checks: SELECT * FROM pingpong.preflight('%s').", run->target);
	}
	journal_end();
	free(options);
	return (int) n;
}
