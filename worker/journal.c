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
	n = journal_exec("SELECT name, kind, host, port, agent_url, slot, upstream FROM pingpong.node ORDER BY name", 0);
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
	}
	n = journal_exec("SELECT name, kind, router, endpoint, databases::pg_catalog.text, node FROM pingpong.route ORDER BY name", 0);
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
	}
	journal_end();
}

static OnFailure
failure_from(const char *name)
{
	return strcmp(name, "retry") == 0 ? FAIL_RETRY : strcmp(name, "continue") == 0 ? FAIL_CONTINUE : FAIL_UNDO;
}

static Step *
add_step(Run *run, Step *like, const char *subject)
{
	Step	   *step;

	if (run->nsteps == PP_STEPS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("the runbook \"%s\" has more than %d steps", run->runbook, PP_STEPS)));
	step = &run->steps[run->nsteps++];
	*step = *like;
	strlcpy(step->subject, subject, sizeof(step->subject));
	return step;
}

/* The other standbys that stream from the present primary and must follow the new one. */
static bool
is_sibling(Run *run, RunNode *node)
{
	return strcmp(node->kind, "postgres") == 0 && strcmp(node->name, run->source) != 0 &&
		strcmp(node->name, run->target) != 0 &&
		(node->upstream[0] == '\0' || strcmp(node->upstream, run->source) == 0);
}

/* A runbook row names its nodes by their part in the run; here they become steps. */
static void
expand_step(Run *run, Step *like, const char *place)
{
	if (strcmp(place, "source") == 0)
		add_step(run, like, run->source);
	else if (strcmp(place, "target") == 0)
		add_step(run, like, run->target);
	else if (strcmp(place, "siblings") == 0)
	{
		for (int i = 0; i < run->nnodes; i++)
			if (is_sibling(run, &run->nodes[i]))
				add_step(run, like, run->nodes[i].name);
	}
	else if (strcmp(place, "rw_routes") == 0 || strcmp(place, "ro_routes") == 0)
	{
		for (int i = 0; i < run->nroutes; i++)
			if (strncmp(run->routes[i].kind, place, 2) == 0)
				add_step(run, like, run->routes[i].name);
	}
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("runbook \"%s\" names an unknown place \"%s\"", run->runbook, place)));
}

/* A row of the runbook, in the order of RUNBOOK_SQL. */
#define RUNBOOK_SQL \
	"SELECT ordinal, action, node, undo, on_failure, (EXTRACT(epoch FROM timeout) * 1000)::pg_catalog.int8, worker, " \
	"coalesce(guard, 'true'), params::pg_catalog.text " \
	"FROM pingpong.runbook_step WHERE runbook = $1 ORDER BY ordinal, action, node"

static Step
read_step(Run *run, uint64 row, MemoryContext context)
{
	Step		step = {0};
	char	   *worker = journal_text(row, 7);

	step.ordinal = atoi(journal_text(row, 1));
	copy_text(step.name, sizeof(step.name), row, 2);
	copy_text(step.undo, sizeof(step.undo), row, 4);
	step.on_failure = failure_from(journal_text(row, 5));
	step.timeout_ms = atoi(journal_text(row, 6));
	step.mine = strcmp(worker, "both") == 0 || (strcmp(worker, "target") == 0) == run->is_target;
	step.params = MemoryContextStrdup(context, journal_text(row, 9));
	step.action = action_find(step.name);
	if (step.action == NULL || (step.undo[0] && action_find(step.undo) == NULL))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("runbook \"%s\" names an unknown action \"%s\"", run->runbook,
							   step.action ? step.undo : step.name)));
	return step;
}

/* Guards are SQL that only superusers can write; the worker runs as one. */
static bool
guard_holds(const char *guard, const char *id)
{
	char	   *sql = psprintf("SELECT FROM pingpong.run r WHERE r.id = $1::pg_catalog.int8 AND (%s)", guard);

	return journal_exec(sql, 1, id) > 0;
}

/* Each row of the runbook becomes a step for each of its nodes or routes. */
static void
load_runbook(Run *run, const char *id, MemoryContext context)
{
	uint64		n = journal_exec(RUNBOOK_SQL, 1, run->runbook);
	SPITupleTable *rows = SPI_tuptable;

	if (n == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("runbook \"%s\" does not exist", run->runbook)));
	for (uint64 i = 0; i < n; i++)
	{
		Step		step = read_step(run, i, context);
		char	   *place = journal_text(i, 3);

		if (!guard_holds(journal_text(i, 8), id))
			step.state = STEP_SKIPPED;
		expand_step(run, &step, place);
		SPI_tuptable = rows;	/* the guard's query has replaced it */
	}
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

/* All steps as they are now. */
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
	journal_end();
}

/* The run's own row: state, blackout, sentence; and where the routes point now. */
void
journal_save_run(Run *run)
{
	char		id[24],
				ms[32],
				lsn[32];
	char	   *notes = json_dumps(run->notes, JSON_COMPACT);

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
				 notes ? notes : "{}", run->switched ? "t" : "f");
	if (run->switched && run->is_target)
	{
		journal_exec("UPDATE pingpong.route SET node = $1 WHERE kind = 'rw' AND node IS DISTINCT FROM $1", 1, run->target);
		journal_exec("UPDATE pingpong.route r SET node = $1 WHERE kind = 'ro' AND node IS DISTINCT FROM $1 AND EXISTS "
					 "(SELECT FROM pingpong.step s JOIN pingpong.run u ON u.id = s.run WHERE u.key = $2 AND s.action = 'repoint' "
					 "AND s.node = r.name AND s.state = 'succeeded')", 2, run->source, run->key);
		journal_exec("UPDATE pingpong.node SET upstream = NULL WHERE name = $1 OR upstream IN ($1, $2)", 2, run->target, run->source);
	}
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
						 "WHERE s.runbook = run.runbook AND s.action = 'promote') FROM pingpong.run WHERE state = 'running' ORDER BY id DESC LIMIT 1", 0) == 1;
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
		run->blackout_ms = journal_text(0, 11) ? strtod(journal_text(0, 11), NULL) : -1;
	}
	journal_end();
	return found;
}

/* Whether a commit has a synchronous standby to wait for, or need not wait. */
bool
journal_synchronous(void)
{
	bool		satisfied;

	journal_begin();
	satisfied = journal_exec("SELECT WHERE pg_catalog.current_setting('synchronous_standby_names') = '' OR EXISTS "
							 "(SELECT FROM pg_catalog.pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming')",
							 0) == 1;
	journal_end();
	return satisfied;
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
	journal_exec("UPDATE pingpong.step s SET state = 'succeeded', message = 'mended by run ' || $1 FROM pingpong.run r "
				 "WHERE r.id = s.run AND r.state = 'stuck' AND s.state = 'failed' "
				 "AND CASE WHEN $2 = 'repoint' THEN s.action = 'repoint' ELSE s.node = $3 AND s.action IN ('rejoin', 'follow') END",
				 3, id, run->runbook, run->target);
	journal_exec("UPDATE pingpong.run r SET state = 'succeeded', sentence = 'Mended by run ' || $1 || '.' WHERE r.state = 'stuck' "
				 "AND NOT EXISTS (SELECT FROM pingpong.step s WHERE s.run = r.id AND s.state = 'failed' "
				 "AND s.action IN ('rejoin', 'follow', 'repoint'))", 1, id);
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
