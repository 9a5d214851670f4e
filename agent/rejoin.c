/*
 * rejoin.c
 *		pg.rejoin: the old primary (or a standby that lost its way) becomes a standby of the new one; pg.follow.
 *
 * First everything is asked: what is here, who the source is, where their timelines parted. rejoin_rule.c judges, and
 * what it refuses, or what could not work, is refused before anything is touched. Each step looks at what is there, so
 * that the action can be run again after a crash at any point. A sealed primary is stopped immediately: nothing can be
 * lost, and a clean stop would write a checkpoint record past the fork. A base backup is made while the server still
 * runs.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/action/settings.h"
#include "agent/actions.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/job/action.h"
#include "agent/job/epoch.h"
#include "agent/job/params.h"
#include "agent/job/sqlstate.h"
#include "agent/pg/control.h"
#include "agent/pg/formats.h"
#include "agent/pg/layout_mark.h"
#include "agent/pg/layout_move.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/seal.h"
#include "agent/pg/serverlog.h"
#include "agent/pg/standby.h"
#include "agent/pg/stop.h"
#include "agent/rejoin.h"
#include "agent/rejoin_rule.h"

#define REJOIN_TIMEOUT_MS 3600000
#define QUERY_TIMEOUT_MS 10000
#define REDIRECT_LIMIT_MS 6000	/* more than wal_retrieve_retry_interval */
#define STREAM_LIMIT_MS 20000	/* a directory that can stream does it by then */
#define POLL_MS 5
#define JUDGED_LIMIT_MS 200		/* a judgement is believed that long, and the blackout's rejoin judges once */
#define RISK_WORDS "its own writes are lost"
#define MANUAL_RUN "manual"		/* of a seal that was made by hand: it says nothing of any other server */

static double
earlier(double a, double b)
{
	return a < b ? a : b;
}

static bool
is_true(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	bool		yes = value && strcmp(value, "t") == 0;

	free(value);
	return yes;
}

/* ---- what is here ---- */

static unsigned
ask_number(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	unsigned	number = value ? (unsigned) strtoul(value, NULL, 10) : 0;

	free(value);
	return number;
}

/* A running server tells its timeline better than its files. */
static unsigned
present_timeline(PGconn *conn, const DataDir *dir, bool primary)
{
	unsigned	asked = !conn ? 0 : ask_number(conn, primary ? SERVER_TIMELINE_SQL :
											   "SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver");

	return asked > dir->timeline ? asked : dir->timeline;
}

static Relation
relation_here(const Rejoin *rejoin, const DataDir *dir, unsigned timeline)
{
	/* a primary whose pg_wal cannot be read may be on any timeline */
	if (!dir->known || (dir->was_primary && !dir->wal_known))
		return dir->startable || file_exists_in(rejoin->place, "base") ? RELATION_UNKNOWN : RELATION_EMPTY;
	return source_relation(&rejoin->source, rejoin->place, timeline, dir->newest_history);
}

/*
 * Where clients' writes end on the node's timeline: by its own seal, or, of a standby, by that of the run that moved
 * the primary away from this timeline.
 */
static bool
writes_end(const Rejoin *rejoin, unsigned timeline, bool sealed, unsigned long long seal_lsn)
{
	unsigned long long fork = source_fork(&rejoin->source, timeline);

	if (!sealed && !rejoin->facts.primary && rejoin->seal_timeline == timeline)
		seal_lsn = rejoin->seal_lsn;
	return fork != 0 && seal_lsn != 0 && seal_lsn <= fork;
}

/*
 * What a running standby has received past the fork does no harm until it is replayed. Of a running primary whose
 * writes have their end it is no question of permission, and asked when it is stopped: until then it may write more.
 */
static PastFork
past_fork(Rejoin *rejoin, PGconn *conn, unsigned timeline)
{
	unsigned long long fork = source_fork(&rejoin->source, timeline);
	unsigned long long replayed = 0;
	char	   *lsn;

	if (rejoin->facts.relation != RELATION_ANCESTOR)
		return PAST_FORK_NO;
	if (conn && rejoin->facts.primary && rejoin->facts.writes_end_before_fork)
		return PAST_FORK_UNKNOWN;
	if (!conn || rejoin->facts.primary)
		return source_past_fork(&rejoin->source, rejoin->config, rejoin->place, timeline);
	lsn = pg_value(conn, "SELECT pg_catalog.pg_last_wal_replay_lsn()");
	lsn_parse(lsn, &replayed);
	free(lsn);
	return replayed > fork ? PAST_FORK_YES : PAST_FORK_NO;
}

/* All that the rule wants to know. `conn`: of a running server, NULL if it does not run or does not answer. */
static void
look(Rejoin *rejoin, PGconn *conn)
{
	RejoinFacts *facts = &rejoin->facts;
	DataDir		dir = datadir_look(rejoin->place);
	char		ours[32];
	char		run[80] = "";
	unsigned long long seal_lsn = 0;
	unsigned	timeline;

	facts->primary = conn ? !is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()") :
		dir.was_primary && !file_exists_in(rejoin->place, "backup_label");
	timeline = present_timeline(conn, &dir, facts->primary);
	snprintf(ours, sizeof(ours), "%llu", (unsigned long long) dir.system);
	facts->other_cluster = dir.known && strcmp(ours, rejoin->source.system) != 0;
	facts->relation = relation_here(rejoin, &dir, timeline);
	facts->sealed = conn ? facts->primary && server_seal(rejoin->config, conn, run, sizeof(run), &seal_lsn) :
		seal_read(rejoin->place, &dir, run, sizeof(run), &seal_lsn);
	facts->writes_end_before_fork = writes_end(rejoin, timeline, facts->sealed, seal_lsn);
	if (facts->relation == RELATION_SAME && strcmp(run, MANUAL_RUN) == 0)
		facts->sealed = false;
	facts->past_fork = past_fork(rejoin, conn, timeline);
	rejoin->timeline = timeline;
}

/* ---- refusing ---- */

static void
explain_newer(Rejoin *rejoin)
{
	action_detail(rejoin->ctx, "It is on timeline %u, the server at %s:%s on timeline %u. What was written here since would be lost.",
				  rejoin->timeline, rejoin->upstream.host, rejoin->upstream.port, rejoin->source.timeline);
	action_hint(rejoin->ctx, "This node is the newer side. If it is the right one, stop the server at %s:%s and make that one a "
				"standby of this one.", rejoin->upstream.host, rejoin->upstream.port);
}

static void
explain_more(Rejoin *rejoin)
{
	unsigned long long fork = source_fork(&rejoin->source, rejoin->timeline);

	action_detail(rejoin->ctx, "The server at %s:%s left timeline %u at %X/%X; WAL of this node from there on would be lost.",
				  rejoin->upstream.host, rejoin->upstream.port, rejoin->timeline, (unsigned) (fork >> 32), (unsigned) fork);
	action_hint(rejoin->ctx, "Save what clients wrote here. Then a superuser may give the risk => '%s'.", RISK_WORDS);
}

/* Which WAL would go, and which side is the older one; never the destructive way for the newer. */
static int
refuse(Rejoin *rejoin)
{
	RejoinVerdict verdict = rejoin->rule.verdict;
	ActionContext *ctx = rejoin->ctx;

	action_forget_error(ctx);
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "node \"%s\" %s", rejoin->config->node, rejoin_verdict_text(verdict));
	if (verdict == REJOIN_NEWER || (verdict == REJOIN_NOT_SEALED && rejoin->facts.relation == RELATION_AHEAD))
		explain_newer(rejoin);
	else if (verdict == REJOIN_HAS_MORE || verdict == REJOIN_MAYBE_MORE)
		explain_more(rejoin);
	else if (verdict == REJOIN_OTHER_CLUSTER)
	{
		action_detail(ctx, "The system identifier at %s:%s is %s.", rejoin->upstream.host, rejoin->upstream.port, rejoin->source.system);
		action_hint(ctx, "To give this node to another cluster, empty its data directory first.");
	}
	else if (verdict == REJOIN_NO_SUCH_WAY)
		action_hint(ctx, "Use the method \"auto\", or \"basebackup\".");
	else
	{
		action_detail(ctx, "It is on timeline %u, the server at %s:%s on timeline %u.", rejoin->timeline, rejoin->upstream.host,
					  rejoin->upstream.port, rejoin->source.timeline);
		action_hint(ctx, "Find out which of the two has the right data, and stop or seal the other one.");
	}
	return -1;
}

static int
judge(Rejoin *rejoin, PGconn *conn)
{
	look(rejoin, conn);
	rejoin->judged_ms = clock_monotonic_ms();
	rejoin->rule = rejoin_rule(&rejoin->facts);
	return rejoin->rule.verdict == REJOIN_ALLOWED ? 0 : refuse(rejoin);
}

/* ---- stopping and starting ---- */

static int
check_epoch(Rejoin *rejoin)
{
	if (rejoin->ctx->epoch >= epoch_current())
		return 0;
	return action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the primary has moved since this job was made");
}

/*
 * What was judged is as old as the copy that was made meanwhile, or the wait for WAL. A standby may be a primary by now,
 * a primary may take writes again, a person may have started what was down: they are not stopped by what was true
 * before.
 */
static int
confirm(Rejoin *rejoin)
{
	RejoinFacts facts = rejoin->facts;
	RejoinRule	rule = rejoin->rule;
	PGconn	   *conn = pg_local(rejoin->config, NULL, QUERY_TIMEOUT_MS, NULL, 0);
	int			rc = check_epoch(rejoin);

	if (rc == 0)
	{
		look(rejoin, conn);
		rejoin->facts.running = true;
		rejoin->rule = rejoin_rule(&rejoin->facts);
		if (!facts.running)
			rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server of \"%s\" was started meanwhile", rejoin->config->node);
		else if (rejoin->facts.primary && !facts.primary)
			rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "node \"%s\" was promoted meanwhile", rejoin->config->node);
		else if (rejoin->facts.primary && rejoin->rule.verdict != REJOIN_ALLOWED)
			rc = refuse(rejoin);
	}
	PQfinish(conn);
	rejoin->facts = facts;
	rejoin->rule = rule;
	return rc;
}

/* Down afterwards, whatever it was. */
static int
stop_server(Rejoin *rejoin)
{
	rejoin->no_more = true;		/* a server that must not be, or cannot be stopped, must not be by another way either */
	if (clock_monotonic_ms() - rejoin->judged_ms > JUDGED_LIMIT_MS && control_running(rejoin->config) && confirm(rejoin) < 0)
		return -1;
	if (server_stop(rejoin->ctx, rejoin->facts.primary, rejoin->readers_grace_ms, rejoin->deadline, rejoin->result) < 0)
		return -1;
	rejoin->no_more = false;
	rejoin->facts.running = false;
	return 0;
}

/* The seal has done its work when the server is a standby for certain: started as one, in recovery. */
static void
remove_seal(Rejoin *rejoin)
{
	char	   *path = data_path(rejoin->config, "pingpong.seal");

	if (unlink(path) == 0)
		file_fsync_path(rejoin->config->pg.data);
	free(path);
}

/*
 * It runs and does not stream. Only if the source has not the WAL that it needs, a costlier way helps; a password or a
 * network that is wrong would be as wrong for that, and intact data would be copied anew.
 */
static int
no_stream(Rejoin *rejoin, PGconn *conn)
{
	char	   *lsn = pg_value(conn, "SELECT greatest(pg_catalog.pg_last_wal_receive_lsn(), pg_catalog.pg_last_wal_replay_lsn())");
	unsigned long long from = 0;
	DataDir		dir = datadir_look(rejoin->config->pg.data);
	char	   *why = serverlog_last_words(rejoin->config);

	if (lsn_parse(lsn, &from) && source_can_serve(rejoin->ctx, &rejoin->source, dir.timeline, from))
		rejoin->no_more = true;
	free(lsn);
	action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server does not stream from %s:%s%s%s", rejoin->upstream.host,
				rejoin->upstream.port, why ? ": " : "", why ? why : "");
	if (rejoin->no_more)
		action_hint(rejoin->ctx, "The WAL that it needs is there: see primary_conninfo, pg_hba.conf and the passwords.");
	free(why);
	return -1;
}

static int
start_and_stream(Rejoin *rejoin)
{
	double		streaming = 0;
	PGconn	   *conn;
	int			rc = 0;

	action_progress(rejoin->ctx, -1, "starting");
	rejoin->no_more = true;		/* a start command that fails says nothing about the data */
	if (control_start(rejoin->ctx) < 0)
		return -1;
	rejoin->facts.running = true;
	/* crash recovery of a large server takes its time: only the streaming has the short limit */
	conn = control_wait_ready(rejoin->ctx, rejoin->deadline);
	/* what it says about data is a reason to go on; all else is about settings, ports, rights */
	rejoin->no_more = !conn && !serverlog_blames_data(rejoin->config);
	if (!conn)
		return -1;
	action_progress(rejoin->ctx, -1, "waiting for WAL from %s:%s", rejoin->upstream.host, rejoin->upstream.port);
	if (is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()"))
		streaming = standby_wait_streaming(rejoin->ctx, conn, &rejoin->upstream, &rejoin->goal,
										   earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS), rejoin->deadline);
	if (streaming == 0)
		rc = no_stream(rejoin, conn);
	PQfinish(conn);
	if (rc < 0)
		return -1;
	json_object_set_new(rejoin->result, "streaming_ms", json_real(streaming));
	remove_seal(rejoin);
	return 0;
}

/* ---- the ways ---- */

static int
by_direct(Rejoin *rejoin)
{
	if (stop_server(rejoin) < 0)
		return -1;
	return standby_configure_offline(rejoin->ctx, rejoin->config->pg.data, &rejoin->upstream);
}

static int
by_rewind(Rejoin *rejoin)
{
	return stop_server(rejoin) < 0 ? -1 : rejoin_by_rewind(rejoin);
}

static int
by_basebackup(Rejoin *rejoin)
{
	return rejoin_by_basebackup(rejoin, stop_server);
}

static int
try_way(Rejoin *rejoin, WayNumber way)
{
	static int	(*const prepare[]) (Rejoin *rejoin) = {by_direct, by_rewind, by_basebackup};

	json_array_append_new(rejoin->tried, json_string(way_name(way)));
	rejoin->no_more = false;
	if (prepare[way] (rejoin) < 0 || start_and_stream(rejoin) < 0)
		return -1;
	json_object_set_new(rejoin->result, "method", json_string(way_name(way)));
	return 0;
}

/* Why it was not enough, for the report; and the error is that of the next one. */
static void
note_fallback(Rejoin *rejoin, WayNumber way)
{
	const char *why = action_error_message(rejoin->ctx);

	log_warning("rejoin: %s failed: %s", way_name(way), why);
	action_output(rejoin->ctx, why, strlen(why));
	action_output(rejoin->ctx, "\n", 1);
	json_array_append_new(rejoin->fallbacks, json_sprintf("%s: %s", way_name(way), why));
	action_forget_error(rejoin->ctx);
}

/* From the first way that can work, one after the other, each costlier than the one before. */
static int
try_ways(Rejoin *rejoin)
{
	int			rc = -1;

	for (int way = rejoin->rule.first; rc < 0 && way <= (int) rejoin->rule.last; way++)
	{
		if (way == WAY_REWIND && !rejoin->rule.with_rewind)
			continue;
		rc = try_way(rejoin, (WayNumber) way);
		if (rc < 0 && (rejoin->no_more || action_cancelled(rejoin->ctx) || clock_monotonic_ms() > rejoin->deadline))
			break;
		if (rc < 0 && way < (int) rejoin->rule.last)
			note_fallback(rejoin, (WayNumber) way);
	}
	return rc;
}

/* ---- a server that runs ---- */

/* A standby may only need a new upstream. `method` is "none" if it streams from there already. */
static bool
redirected(Rejoin *rejoin, PGconn *conn)
{
	double		limit = earlier(rejoin->deadline, clock_monotonic_ms() + REDIRECT_LIMIT_MS);
	bool		there = standby_streams(conn, &rejoin->upstream);
	double		streaming = 0;

	if (!there)
		json_array_append_new(rejoin->tried, json_string("follow"));
	if (there || standby_redirect(rejoin->ctx, conn, &rejoin->upstream) == 0)
		streaming = standby_wait_streaming(rejoin->ctx, conn, &rejoin->upstream, &rejoin->goal, limit, rejoin->deadline);
	if (streaming == 0)
		return false;
	action_forget_error(rejoin->ctx);
	json_object_set_new(rejoin->result, "method", json_string(there ? "none" : "follow"));
	json_object_set_new(rejoin->result, "streaming_ms", json_real(streaming));
	remove_seal(rejoin);
	return true;
}

/* What the ways need is looked at while the server is still up; a way that cannot work is left out. */
static int
check_ways(Rejoin *rejoin)
{
	RejoinRule *rule = &rejoin->rule;

	if (rejoin->facts.primary && rejoin->facts.sealed && rejoin->facts.method == METHOD_AUTO)
		return 0;				/* it serves nobody; what can be tried is tried */
	if (rule->first == WAY_REWIND && rule->last == WAY_REWIND)
		return rewind_feasible(rejoin);
	if (rule->last != WAY_BASEBACKUP || basebackup_feasible(rejoin) == 0)
		return 0;
	if (rule->first == WAY_BASEBACKUP)
		return -1;
	note_fallback(rejoin, WAY_BASEBACKUP);
	rule->last = rule->with_rewind ? WAY_REWIND : WAY_DIRECT;
	return 0;
}

/*
 * Only a stopped primary tells whether it has written past the fork. If it is refused then (its seal was lifted
 * meanwhile, or cannot be read), it is not started again: it would come up as a primary, beside another one.
 */
static int
judge_stopped(Rejoin *rejoin)
{
	char	   *start;

	if (stop_server(rejoin) < 0)
		return -1;
	rejoin->facts.running = false;
	if (judge(rejoin, NULL) == 0)
		return 0;
	start = control_start_words(rejoin->config);
	action_detail_more(rejoin->ctx, "The server was stopped to find that out, and stays down; to start it as it was: %s",
					   start);
	free(start);
	return -1;
}

/*
 * Whatever way was asked for: when the order is taken up again by a later agent and nothing is left of what was begun,
 * a person has put this directory here. If it streams, that is what was wanted.
 */
static bool
may_be_there_already(Rejoin *rejoin)
{
	return rejoin->rule.follow || (rejoin->ctx->resumed && !layout_has_work(rejoin->config));
}

/* 1: done, it follows already; 0: the ways may be tried; -1: the job failed, and the server is as it was */
static int
handle_running(Rejoin *rejoin)
{
	PGconn	   *conn = control_wait_ready(rejoin->ctx, earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS));
	int			rc;

	/* a standby that cannot become consistent accepts nobody: its directory tells what it is */
	action_forget_error(rejoin->ctx);
	if (!conn && !file_exists_in(rejoin->place, "standby.signal"))
		return action_fail(rejoin->ctx, STATE_CONNECTION_FAILURE, "the server runs and does not answer");
	rc = judge(rejoin, conn);
	if (rc == 0 && conn && may_be_there_already(rejoin) && redirected(rejoin, conn))
		rc = 1;
	PQfinish(conn);
	if (rc == 0 && rejoin->follow_only)
		rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the standby does not stream from %s:%s",
						 rejoin->upstream.host, rejoin->upstream.port);
	if (rc == 0)
		action_forget_error(rejoin->ctx);
	if (rc == 0)
		rc = check_ways(rejoin);
	return rc == 0 && rejoin->facts.primary ? judge_stopped(rejoin) : rc;
}

/* Hidden, it lies elsewhere; whatever else was interrupted is finished first. */
static int
find_place(Rejoin *rejoin)
{
	char	   *hidden = layout_work(rejoin->config, "hidden");
	char	   *saved = layout_work(rejoin->config, "saved");
	LayoutPhase phase = layout_phase(rejoin->ctx);
	int			rc = layout_check_mark(rejoin->ctx);

	if (rc == 0 && layout_has_work(rejoin->config))
		rc = tool_end_leftovers(rejoin);
	if (rc == 0 && rejoin->facts.running && (phase == LAYOUT_HIDING || phase == LAYOUT_SWAP_OUT))
		rc = layout_give_back(rejoin->ctx);
	if (rc == 0 && !rejoin->facts.running && phase != LAYOUT_WHOLE)
	{
		rc = server_await_remains(rejoin->ctx, rejoin->deadline);
		if (rc == 0)
			rc = layout_repair(rejoin->ctx);
		phase = rc == 0 ? layout_phase(rejoin->ctx) : phase;
	}
	rejoin->facts.half_rewound = !rejoin->facts.running && layout_is_hidden(phase);
	snprintf(rejoin->place, sizeof(rejoin->place), "%s", rejoin->facts.half_rewound ? hidden : rejoin->config->pg.data);
	/* pg_rewind removes postmaster.opts from what it works on */
	rejoin->options = postmaster_options(rejoin->facts.half_rewound ? saved : rejoin->config->pg.data);
	free(saved);
	free(hidden);
	return rc;
}

/* A standby that ran is not left down because it could not be helped. */
static void
start_again(Rejoin *rejoin)
{
	if (rejoin->facts.primary || control_running(rejoin->config) || layout_phase(rejoin->ctx) != LAYOUT_WHOLE)
		return;
	if (control_start(rejoin->ctx) == 0)
		log_info("rejoin: the standby was started again as it was");
}

static int
run_rejoin(Rejoin *rejoin)
{
	bool		was_standby;
	int			rc;

	rejoin->facts.running = control_running(rejoin->config);
	rc = find_place(rejoin);
	if (rc == 0)
		rc = source_inspect(rejoin->ctx, &rejoin->source);
	if (rc < 0)
		return -1;
	rejoin->goal = (Goal) {rejoin->source.timeline, rejoin->source.lsn};
	rc = rejoin->facts.running ? handle_running(rejoin) : rejoin->follow_only ?
		action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this server does not run") : judge(rejoin, NULL);
	if (rc != 0)
		return rc;
	was_standby = rejoin->facts.running && !rejoin->facts.primary;
	rc = try_ways(rejoin);
	if (rc < 0 && was_standby)
		start_again(rejoin);
	return rc;
}

/* ---- the actions ---- */

static int
method_from(const char *name)
{
	for (int way = 0; way < WAYS; way++)
		if (strcmp(name, way_name((WayNumber) way)) == 0)
			return way;
	return strcmp(name, "auto") == 0 ? METHOD_AUTO : WAYS;
}

static int
lock_server(Rejoin *rejoin)
{
	while (!server_claim())
	{
		action_progress(rejoin->ctx, -1, "waiting for another rejoin");
		if (action_cancelled(rejoin->ctx))
			return action_fail(rejoin->ctx, STATE_CANCELED, "the job was cancelled");
		if (clock_monotonic_ms() > rejoin->deadline)
			return action_fail(rejoin->ctx, STATE_TIMED_OUT, "another rejoin is under way");
		sleep_ms(POLL_MS);
	}
	if (check_epoch(rejoin) == 0)
		return 0;
	server_release();
	return -1;
}

/* The order's time runs from when it was given: resumed days later, it must not be carried out. */
static int
read_order(Rejoin *rejoin, json_t *params)
{
	ActionContext *ctx = rejoin->ctx;
	double		left = (double) param_int(params, "timeout_ms", REJOIN_TIMEOUT_MS) - ctx->age_ms;

	if (left <= 0)
		return action_fail(ctx, STATE_TIMED_OUT, "the order is %.0f s old, and its time is over", ctx->age_ms / 1000);
	rejoin->deadline = clock_monotonic_ms() + left;
	rejoin->source.deadline = rejoin->deadline;
	rejoin->facts.method = method_from(param_string(params, "method", "auto"));
	if (rejoin->facts.method == WAYS)
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"method\" must be auto, direct, rewind or basebackup");
	rejoin->facts.risk = strcmp(param_string(params, "risk", ""), RISK_WORDS) == 0;
	if (param_string(params, "seal_lsn", NULL) && !lsn_parse(param_string(params, "seal_lsn", ""), &rejoin->seal_lsn))
		return action_fail(ctx, STATE_INVALID_PARAMETER, "\"seal_lsn\" is not an LSN");
	rejoin->seal_timeline = (unsigned) param_int(params, "seal_timeline", 0);
	return upstream_read(ctx, params, &rejoin->upstream);
}

static int
rejoin_node(ActionContext *ctx, json_t *params, json_t *result, bool follow_only)
{
	Rejoin		rejoin = {
		.ctx = ctx,
		.config = ctx->config,
		.readers_grace_ms = (int) param_int(params, "readers_grace_ms", 0),
		.result = result,
		.tried = json_array(),
		.fallbacks = json_array(),
		.follow_only = follow_only,
	};
	int			rc;

	json_object_set_new(result, "tried", rejoin.tried);
	json_object_set_new(result, "fallbacks", rejoin.fallbacks);
	rejoin.source.upstream = &rejoin.upstream;
	if (read_order(&rejoin, params) < 0 || lock_server(&rejoin) < 0)
		return -1;
	rc = run_rejoin(&rejoin);
	if (rc >= 0)
	{
		layout_clean_up(ctx);
		if (!follow_only)
			settings_put_back(ctx); /* of a run that was about a primary; nobody else may come to do it */
	}
	server_release();
	free(rejoin.source.history);
	text_free_list(rejoin.options);
	return rc < 0 ? -1 : 0;
}

int
action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result)
{
	return rejoin_node(ctx, params, result, false);
}

/* A running standby changes its upstream by reload; it is never stopped for it. */
int
action_pg_follow(ActionContext *ctx, json_t *params, json_t *result)
{
	return rejoin_node(ctx, params, result, true);
}
