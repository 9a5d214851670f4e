/*
 * journal.c - the rows of runs, steps, nodes, routes, facts and preflight.
 *
 * The journal is what a worker needs to go on with a run of another worker: on this server after a crash, or on the
 * target after its promotion, which has the rows because they are replicated with the data.
 *
 * - A run is stored before its first step, in one transaction that also takes its number and its epoch. It is
 *   `running` until it ends as `succeeded`, `rolled_back` or `stuck`.
 * - The steps are stored between two groups, but not while writes are stopped: that would cost blackout, and after a
 *   crash in the blackout the seal file and the target's promote token tell more than a row could. On a sealed server
 *   nothing can be stored. Then the target's worker writes the rows, from the note that it gets with the promotion.
 * - The round of a step is stored before its order goes to an agent (step.c). A worker that goes on asks for the job
 *   of that round. With a wrong round it would begin a second job beside the first.
 *
 * Every function is one short transaction of its own. If it raises an error, the run is as it was, and runner_error()
 * decides.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "common/sqlstate.h"
#include "worker/db.h"
#include "worker/journal.h"
#include "worker/settings.h"

/* Whether the extension is there, of a version that this module knows. */
bool
journal_ready(void)
{
	bool		ready;

	db_begin();
	ready = db_exec("SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_pingpong'", 0) == 1;
	db_end();
	return ready;
}

/* Nodes and routes as they are now, into `run` (allocated in the caller's context). */
void
journal_load_topology(Run *run)
{
	MemoryContext context = CurrentMemoryContext;
	uint64		n;

	db_begin();
	if (run->epoch == 0 && db_exec("SELECT epoch FROM pingpong.cluster", 0) == 1)
		run->epoch = strtoll(db_text(0, 1), NULL, 10);
	n = db_exec("SELECT name, kind, host, port, agent_url, slot, upstream, away_since IS NOT NULL FROM "
				"pingpong.node ORDER BY name", 0);
	run->nodes = MemoryContextAllocZero(context, Max(n, 1) * sizeof(RunNode));
	run->nnodes = (int) n;
	for (uint64 i = 0; i < n; i++)
	{
		RunNode    *node = &run->nodes[i];
		char	   *port = db_text(i, 4);

		db_copy(node->name, sizeof(node->name), i, 1);
		db_copy(node->kind, sizeof(node->kind), i, 2);
		db_copy(node->host, sizeof(node->host), i, 3);
		node->port = port ? atoi(port) : 0;
		db_copy(node->url, sizeof(node->url), i, 5);
		db_copy(node->slot, sizeof(node->slot), i, 6);
		db_copy(node->upstream, sizeof(node->upstream), i, 7);
		node->away = strcmp(db_text(i, 8), "t") == 0;
	}
	n = db_exec("SELECT e.name, r.kind, e.router, e.endpoint, r.databases::pg_catalog.text, r.node, "
				"r.smoke, r.driver, e.route, pg_catalog.to_jsonb(r.nodes)::pg_catalog.text, r.fallback, "
				"r.drift = 'repair' "
				"FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route ORDER BY e.name", 0);
	run->routes = MemoryContextAllocZero(context, Max(n, 1) * sizeof(RunRoute));
	run->nroutes = (int) n;
	for (uint64 i = 0; i < n; i++)
	{
		RunRoute   *route = &run->routes[i];

		db_copy(route->name, sizeof(route->name), i, 1);
		db_copy(route->kind, sizeof(route->kind), i, 2);
		db_copy(route->router, sizeof(route->router), i, 3);
		db_copy(route->endpoint, sizeof(route->endpoint), i, 4);
		route->databases = MemoryContextStrdup(context, db_text(i, 5));
		db_copy(route->node, sizeof(route->node), i, 6);
		db_copy(route->driver, sizeof(route->driver), i, 8);
		db_copy(route->route, sizeof(route->route), i, 9);
		route->smoke = db_text(i, 7) ? MemoryContextStrdup(context, db_text(i, 7)) : NULL;
		route->nodes = db_text(i, 10) ? MemoryContextStrdup(context, db_text(i, 10)) : NULL;
		route->fallback = strcmp(db_text(i, 11), "t") == 0;
		route->repairs = strcmp(db_text(i, 12), "t") == 0;
	}
	db_end();
}

/*
 * RO routes that no run has changed yet point where their routers just said, as preflight sees them; what is no node
 * of ours stays unknown.
 */
void
journal_find_routes(Run *run)
{
	uint64		n;

	db_begin();
	n = db_exec("UPDATE pingpong.route r SET node = s.node FROM (SELECT name, pg_catalog.min(node) AS node FROM "
					 "pingpong_check.preflight_route "
					 "GROUP BY name HAVING pg_catalog.count(*) = pg_catalog.count(node) AND "
					 "pg_catalog.count(DISTINCT node) = 1) s "
					 "WHERE r.name = s.name AND r.kind = 'ro' AND r.node IS NULL RETURNING r.name, r.node", 0);
	for (uint64 i = 0; i < n; i++)
		for (int e = 0; e < run->nroutes; e++)
			if (strcmp(run->routes[e].route, db_text(i, 1)) == 0)
				db_copy(run->routes[e].node, sizeof(run->routes[e].node), i, 2);
	db_end();
}

/* Stores a new run: takes the next number and epoch. */
void
journal_create_run(Run *run)
{
	char	   *options = json_dumps(run->options, JSON_COMPACT);
	char		epoch[24];

	db_begin();
	if (db_exec("SELECT FROM pingpong.runbook_step WHERE runbook = $1", 1, run->runbook) == 0)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("runbook \"%s\" does not exist", run->runbook)));
	run->moves = db_exec("SELECT FROM pingpong.runbook_step WHERE runbook = $1 AND mark = 'no_return'", 1,
						 run->runbook) > 0;
	if (run->moves != (run->request == REQUEST_SWITCHOVER))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("runbook \"%s\" cannot be used for this", run->runbook),
						errdetail("Only a runbook with the action \"promote\" is a switchover.")));
	db_exec("LOCK TABLE pingpong.run IN SHARE ROW EXCLUSIVE MODE", 0);
	db_exec(run->moves ? "INSERT INTO pingpong.cluster (epoch) SELECT pingpong_internal.adopted_epoch() + 1 "
				 "ON CONFLICT (one) DO UPDATE SET epoch = EXCLUDED.epoch RETURNING epoch" :
				 "SELECT pingpong_internal.adopted_epoch()", 0);
	run->epoch = strtoll(db_text(0, 1), NULL, 10);
	snprintf(epoch, sizeof(epoch), INT64_FORMAT, run->epoch);
	db_exec("INSERT INTO pingpong.run (id, key, runbook, source, target, epoch, state, options, "
				 "requested_by, preflight) "
				 "SELECT coalesce(max(id), 0) + 1, pg_catalog.gen_random_uuid()::pg_catalog.text, $1, $2, $3, "
				 "$7::pg_catalog.int8, 'running', $4::pg_catalog.jsonb, $5, "
				 "CASE WHEN $6 = 't' THEN (SELECT pg_catalog.jsonb_object_agg(status, n) FROM (SELECT status, "
				 "pg_catalog.count(*) AS n "
				 " FROM pingpong.last_preflight GROUP BY status) AS s) END "
				 "FROM pingpong.run RETURNING id, key",
				 7, run->runbook, run->source, run->target, options, run->requested_by, run->checked ? "t" : "f",
				 epoch);
	run->id = strtoll(db_text(0, 1), NULL, 10);
	db_copy(run->key, sizeof(run->key), 0, 2);
	db_end();
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

/* All endpoints of the route point to the node: by a step of this run each. */
static bool
points_as_one(Run *run, const RunRoute *route)
{
	for (int e = 0; e < run->nroutes; e++)
		if (strcmp(run->routes[e].route, route->route) == 0 &&
			(strcmp(run->routes[e].node, route->node) != 0 ||
			 run_find_step(run, ACTION_LEADS_ROUTE, run->routes[e].name, STEP_SUCCEEDED) == NULL))
			return false;
	return true;
}

/* The last ordinal at which this run has pointed the endpoint somewhere; -1: it has not. */
static int
led_at(Run *run, const RunRoute *endpoint)
{
	int			last = -1;

	for (int i = 0; i < run->nsteps; i++)
		if ((run->steps[i].action->traits & ACTION_LEADS_ROUTE) && run->steps[i].state == STEP_SUCCEEDED &&
			strcmp(run->steps[i].node, endpoint->name) == 0)
			last = Max(last, run->steps[i].ordinal);
	return last;
}

/* A run that moves the primary decides where its routes belong: also those of which an endpoint does not follow. */
static bool
leads_its_route(Run *run, const RunRoute *route)
{
	int			last = led_at(run, route);

	for (int e = 0; e < run->nroutes; e++)
		if (strcmp(run->routes[e].route, route->route) == 0 && led_at(run, &run->routes[e]) > last)
			return false;
	return last >= 0;
}

/* Where the routes point that this run has changed: of what was told, what their routers said it is. */
static void
save_routes(Run *run)
{
	for (int e = 0; e < run->nroutes && !(run->moves && !run->is_target); e++)
	{
		RunRoute   *route = &run->routes[e];

		if (route->node[0] && (run->moves ? leads_its_route(run, route) : points_as_one(run, route)))
			db_exec("UPDATE pingpong.route SET node = $2, nodes = CASE WHEN $2 = ANY (nodes) THEN nodes END, "
					"home = CASE WHEN kind = 'ro' AND $2 <> pingpong.node_name() THEN $2 END "
					"WHERE name = $1 AND node IS DISTINCT FROM $2", 2,
					route->route, route->node);
	}
}

/* All steps as they are now, and where the routes point now. */
void
journal_save_steps(Run *run)
{
	char		id[24],
				ordinal[16],
				attempt[16],
				round[16],
				ms[32],
				started[64],
				ended[64];

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	db_begin();
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		snprintf(ordinal, sizeof(ordinal), "%d", step->ordinal);
		snprintf(attempt, sizeof(attempt), "%d", step->attempt);
		snprintf(round, sizeof(round), "%d", Max(step->round, 1));
		db_exec("INSERT INTO pingpong.step AS s (run, ordinal, action, node, state, undo, fix, started_at, ended_at, "
					 "duration_ms, attempt, detail, message, round) VALUES ($1::pg_catalog.int8, "
					 "$2::pg_catalog.int4, $3, $4, $5, $6, $13, "
					 "$7::pg_catalog.timestamptz, $8::pg_catalog.timestamptz, "
					 "$9::pg_catalog.float8, $10::pg_catalog.int4, "
					 "$11::pg_catalog.jsonb, $12, $14::pg_catalog.int4) ON CONFLICT (run, ordinal, "
					 "action, node) DO UPDATE SET "
					 "state = EXCLUDED.state, started_at = coalesce(EXCLUDED.started_at, s.started_at), "
					 "ended_at = coalesce(EXCLUDED.ended_at, s.ended_at), "
					 "duration_ms = coalesce(EXCLUDED.duration_ms, s.duration_ms), attempt = EXCLUDED.attempt, "
					 "round = EXCLUDED.round, "
					 "detail = coalesce(EXCLUDED.detail, s.detail), message = EXCLUDED.message "
					 "WHERE (s.state, s.attempt, s.round, s.message, s.started_at, s.ended_at) IS DISTINCT FROM "
					 "(EXCLUDED.state, EXCLUDED.attempt, EXCLUDED.round, EXCLUDED.message, "
					 "EXCLUDED.started_at, EXCLUDED.ended_at)",
					 14, id, ordinal, step->name, step->node, step_state_name(step->state),
					 step->undo[0] ? step->undo : NULL, moment(started, step->started), moment(ended, step->ended),
					 step->ended ? number(ms, step->ms) : NULL, attempt, step->detail,
					 step->message[0] ? step->message : NULL, step->fix[0] ? step->fix : NULL, round);
	}
	save_routes(run);
	db_end();
}

/*
 * Whether this server is the primary by this run: from the promotion that was confirmed, wherever the routes point. A
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
	db_begin();
	db_exec("UPDATE pingpong.run SET state = $2, blackout_ms = coalesce($3::pg_catalog.float8, blackout_ms), "
				 "seal_lsn = coalesce($4::pg_catalog.pg_lsn, seal_lsn), sentence = coalesce($5, sentence), "
				 "notes = notes || $6::pg_catalog.jsonb, "
				 "switched_at = CASE WHEN $7 = 't' THEN coalesce(switched_at, "
				 "pg_catalog.clock_timestamp()) ELSE switched_at END, "
				 "ended_at = CASE WHEN $2 = 'running' THEN NULL ELSE coalesce(ended_at, "
				 "pg_catalog.clock_timestamp()) END "
				 "WHERE id = $1::pg_catalog.int8",
				 7, id, run->state, run->blackout_ms >= 0 ? number(ms, run->blackout_ms) : NULL,
				 run->seal_lsn != InvalidXLogRecPtr ? lsn : NULL, run->sentence[0] ? run->sentence : NULL,
				 notes ? notes : "{}", switched ? "t" : "f");
	if (has_moved_here(run))
	{
		/* where they belong, also those of which an endpoint is left behind; no ro route was put to a primary */
		db_exec("UPDATE pingpong.route SET node = $1 WHERE kind = 'rw' AND node IS DISTINCT FROM $1", 1, run->target);
		db_exec("UPDATE pingpong.route SET home = NULL WHERE home = $1", 1, run->target);
		db_exec("UPDATE pingpong.node SET upstream = NULL WHERE name = $1 OR upstream IN ($1, $2)", 2, run->target,
				run->source);
	}
	db_end();
	free(notes);
}

/* The last run that has not ended, without its steps; false if there is none. */
bool
journal_find_unfinished(Run *run)
{
	bool		found;
	json_error_t err;

	db_begin();
	found = db_exec("SELECT id, key, runbook, coalesce(source, ''), target, epoch, state, "
						 "options::pg_catalog.text, requested_by, "
						 "notes::pg_catalog.text, blackout_ms, EXISTS (SELECT FROM pingpong.runbook_step s "
						 "WHERE s.runbook = run.runbook AND s.mark = 'no_return'), switched_at IS NOT NULL FROM "
						 "pingpong.run WHERE state = 'running' ORDER BY id DESC LIMIT 1", 0) == 1;
	if (found)
	{
		run->id = strtoll(db_text(0, 1), NULL, 10);
		db_copy(run->key, sizeof(run->key), 0, 2);
		db_copy(run->runbook, sizeof(run->runbook), 0, 3);
		db_copy(run->source, sizeof(run->source), 0, 4);
		db_copy(run->target, sizeof(run->target), 0, 5);
		run->epoch = strtoll(db_text(0, 6), NULL, 10);
		db_copy(run->state, sizeof(run->state), 0, 7);
		run->options = json_loads(db_text(0, 8), 0, &err);
		db_copy(run->requested_by, sizeof(run->requested_by), 0, 9);
		json_decref(run->notes);
		run->notes = json_loads(db_text(0, 10), 0, &err);
		run->moves = strcmp(db_text(0, 12), "t") == 0;
		run->switched = strcmp(db_text(0, 13), "t") == 0;
		run->blackout_ms = db_text(0, 11) ? strtod(db_text(0, 11), NULL) : -1;
	}
	db_end();
	return found;
}

/* Whether a commit finds the standbys that it has to wait for, or need not wait. */
bool
journal_synchronous(void)
{
	bool		satisfied;

	db_begin();
	satisfied = db_exec("SELECT WHERE "
						"pingpong_internal.sync_satisfiable(pg_catalog.current_setting('synchronous_standby_names'))",
						0) == 1;
	db_end();
	return satisfied;
}

/* Whether a commit that waits for these names would find enough of them streaming. */
bool
journal_satisfiable(const char *names)
{
	bool		satisfied;

	db_begin();
	satisfied = db_exec("SELECT WHERE pingpong_internal.sync_satisfiable($1)", 1, names) == 1;
	db_end();
	return satisfied;
}

/*
 * What the standbys of this server call themselves, with their nodes' names: {"application_name": "node"}; release
 * it.
 */
json_t *
journal_standby_names(void)
{
	json_t	   *names = json_new();
	uint64		n;

	db_begin();
	n = db_exec("SELECT application_name, node FROM pingpong_check.preflight_sender WHERE node IS NOT "
				"NULL AND state <> 'backup'", 0);
	for (uint64 i = 0; i < n; i++)
		json_object_set_new(names, db_text(i, 1), json_string(db_text(i, 2)));
	db_end();
	return names;
}

/* Whether runs wait for the node. */
void
journal_set_away(const char *node, bool away)
{
	db_begin();
	db_exec("UPDATE pingpong.node SET away_since = CASE WHEN $2 = 't' THEN pg_catalog.clock_timestamp() END "
				 "WHERE name = $1 AND (away_since IS NULL) = ($2 = 't')", 2, node, away ? "t" : "f");
	db_end();
}

/*
 * The seal after which this server became the primary, and the timeline that it ended; unchanged if no run did that.
 * Not one of another cluster, of before an upgrade or a restored dump: its timelines have the same numbers.
 */
void
journal_last_seal(int *timeline, XLogRecPtr *lsn)
{
	uint32		hi,
				lo;
	char		system[24];

	snprintf(system, sizeof(system), UINT64_FORMAT, GetSystemIdentifier());
	db_begin();
	if (db_exec("SELECT seal_lsn, notes ->> 'timeline' FROM pingpong.run WHERE switched_at IS "
					 "NOT NULL AND target = $1 AND notes ->> 'system' = $2 "
					 "AND seal_lsn IS NOT NULL AND notes ->> 'timeline' ~ '^[0-9]{1,9}$' ORDER BY id DESC LIMIT 1", 2,
					 worker_self(), system) == 1 &&
		sscanf(db_text(0, 1), "%X/%X", &hi, &lo) == 2)
	{
		*lsn = ((uint64) hi << 32) | lo;
		*timeline = atoi(db_text(0, 2));
	}
	db_end();
}

/*
 * A rebuild or repoint that succeeded may have fixed what left an earlier run
 * stuck: when nothing of it is broken any more, it has ended well.
 */
void
journal_close_fixed(Run *run)
{
	char		id[24];

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	db_begin();
	/* a step that did the fix did all of it, or it would not have succeeded */
	db_exec("UPDATE pingpong.step s SET state = 'succeeded', message = 'fixed by run ' || $1 FROM "
			"pingpong.run r, pingpong.step m "
			"WHERE r.id = s.run AND r.state = 'stuck' AND s.state = 'failed' AND m.run = $1::pg_catalog.int8 "
			"AND m.state = 'succeeded' "
			"AND (m.fix = s.fix OR (m.action = s.action AND m.node = s.node))", 1, id);
	db_exec("UPDATE pingpong.run r SET state = 'succeeded', sentence = 'Fixed by run ' || $1 || '.' || "
			"coalesce((SELECT ' What failed, too: step ' "
			"|| pg_catalog.string_agg(s.action || ' of \"' || s.node || '\": ' || s.message, '; ' ORDER BY "
			"s.ordinal) FROM pingpong.step s "
			"WHERE s.run = r.id AND s.state = 'failed'), '') WHERE r.state = 'stuck' "
			"AND EXISTS (SELECT FROM pingpong.step s WHERE s.run = r.id AND s.message = 'fixed by run ' || $1) "
			"AND NOT EXISTS (SELECT FROM pingpong.step s WHERE s.run = r.id AND s.state = "
			"'failed' AND s.fix IS NOT NULL)", 1, id);
	/* it had moved the primary away, and an operator has overruled it: its target follows this server now */
	db_exec("UPDATE pingpong.run r SET state = 'rolled_back', sentence = 'Overruled by an operator; "
				 "fixed by run ' || $1 || '.' "
				 "FROM pingpong.step m WHERE r.state = 'stuck' AND r.source = $2 AND m.run = $1::pg_catalog.int8 AND "
				 "m.fix = pg_catalog.format('SELECT pingpong.rebuild(%L)', r.target) "
				 "AND m.state = 'succeeded' AND m.node = r.target AND EXISTS (SELECT FROM pingpong.runbook_step p "
				 "WHERE p.runbook = r.runbook AND p.mark = 'no_return')",
				 2, id, worker_self());
	db_end();
}

/* A run that cannot be worked on: it ends here, with the reason. */
void
journal_give_up(int64 id, const char *state, const char *sentence)
{
	char		number[24];

	snprintf(number, sizeof(number), INT64_FORMAT, id);
	db_begin();
	db_exec("UPDATE pingpong.run SET state = $2, sentence = $3, ended_at = pg_catalog.clock_timestamp() "
				 "WHERE id = $1::pg_catalog.int8 AND state = 'running'", 3, number, state, sentence);
	db_end();
}

/* What the agent of a node has to try for a move to the target; release it. */
json_t *
journal_facts_params(const char *node, const char *target)
{
	json_error_t err;
	json_t	   *params = NULL;

	db_begin();
	if (db_exec("SELECT pingpong_internal.facts_params($1, $2)", 2, node, target) == 1 && db_text(0, 1))
		params = json_loads(db_text(0, 1), 0, &err);
	db_end();
	return params ? params : json_new();
}

/* What an agent told about its host, for preflight. */
void
journal_store_fact(const char *node, bool ok, const char *error, const char *facts)
{
	db_begin();
	db_exec("INSERT INTO pingpong.node_fact AS f (node, at, ok, error, facts, facts_at) "
				 "SELECT $1, t, $2 = 't', $3, $4::pg_catalog.jsonb, CASE WHEN $4 IS NOT NULL THEN t END "
				 "FROM pingpong.node, pg_catalog.clock_timestamp() t WHERE name = $1 "
				 "ON CONFLICT (node) DO UPDATE SET at = EXCLUDED.at, ok = EXCLUDED.ok, error = EXCLUDED.error, "
				 "facts = coalesce(EXCLUDED.facts, f.facts), "
				 "facts_at = coalesce(EXCLUDED.facts_at, f.facts_at)", 4, node, ok ? "t" : "f", error, facts);
	/* seen some time while facts were gathered; the reconciliation may have looked since */
	db_exec("SELECT pingpong_internal.route_seen(e.name, pg_catalog.clock_timestamp() - CASE WHEN "
			"pg_catalog.current_setting('pingpong.route_interval')::pg_catalog.interval > '0' THEN "
			"pg_catalog.interval '5 s' ELSE '0' END, x, NULL) "
			"FROM pingpong.route_endpoint e JOIN pingpong.route r ON r.name = e.route "
			"JOIN pingpong.node_fact f ON f.node = e.router, "
			"pg_catalog.jsonb_array_elements(f.facts -> 'routers') x WHERE f.node = $1 AND f.ok "
			"AND x ->> 'endpoint' = e.endpoint AND coalesce(x ->> 'driver', 'pgbouncer') = r.driver", 1, node);
	db_end();
}

/*
 * Makes the checks and keeps their rows in pingpong.last_preflight. Gives the
 * number that failed, and a failure whose detail shows them.
 */
int
journal_preflight(Run *run, Failure *failure)
{
	char	   *options = json_dumps(run->options, JSON_COMPACT);
	uint64		n;
	size_t		used = 0;

	db_begin();
	db_exec("DELETE FROM pingpong.last_preflight", 0);
	db_exec("INSERT INTO pingpong.last_preflight "
				 "SELECT number, name, node, status, detail, hint FROM "
				 "pingpong_check.preflight_checks($1, $2::pg_catalog.jsonb)",
				 2, run->target, options);
	n = db_exec("SELECT name || coalesce(' (' || node || ')', '') || ': ' || detail || coalesce('. ' || hint, '') "
					 "FROM pingpong.last_preflight WHERE status = 'fail' ORDER BY number, name, node", 0);
	if (n > 0)
	{
		failure_set(failure, STATE_NOT_IN_PREREQUISITE_STATE, run->request == REQUEST_SWITCHOVER ?
					"preflight found what stands against this switchover" :
					"preflight found what stands against this upgrade");
		for (uint64 i = 0; i < n && used < sizeof(failure->detail) - 1; i++)
			used += snprintf(failure->detail + used, sizeof(failure->detail) - used, "%sfail: %s",
							 i ? "\n" : "", db_text(i, 1));
		if (run->request == REQUEST_SWITCHOVER)
			snprintf(failure->hint, sizeof(failure->hint),
					 "All checks: SELECT * FROM pingpong.preflight('%s').", run->target);
		else
			strlcpy(failure->hint, "All checks: SELECT * FROM pingpong.last_preflight.", sizeof(failure->hint));
	}
	db_end();
	free(options);
	return (int) n;
}
