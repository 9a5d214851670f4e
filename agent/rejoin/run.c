/*
 * run.c
 *		pg.rejoin: the old primary (or a standby that does not stream) becomes a standby of the new one; pg.follow.
 *
 * First everything is asked: what is on this host, who the source is, where their timelines parted. judge.c asks
 * rule.c. What is not allowed, or could not work, is refused before anything is touched. Each step looks at what it
 * finds, so that the action can be run again after a crash at any point. A sealed primary is stopped immediately:
 * nothing can be lost, and a clean stop would write a checkpoint record past the fork. A base backup is made while
 * the server still runs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/action/settings.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/job/params.h"
#include "agent/pg/control.h"
#include "agent/pg/formats.h"
#include "agent/pg/layout.h"
#include "agent/pg/layout_mark.h"
#include "agent/pg/layout_move.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/standby.h"
#include "agent/pg/stop.h"
#include "agent/rejoin/judge.h"
#include "agent/rejoin/lost.h"
#include "agent/rejoin/rejoin.h"
#include "agent/rejoin/restart.h"
#include "agent/rejoin/rule.h"
#include "agent/rejoin/run.h"
#include "agent/rejoin/source.h"
#include "agent/rejoin/tool.h"
#include "agent/rejoin/ways.h"
#include "common/sqlstate.h"

#define REJOIN_TIMEOUT_MS 3600000
#define REDIRECT_LIMIT_MS 6000	/* more than wal_retrieve_retry_interval */
#define POLL_MS 5

/* ---- a server that runs ---- */

/* A standby may only need a new upstream. `method` is "none" if it streams from there already. */
static bool
redirected(Rejoin *rejoin, PGconn *conn)
{
	double		limit = clock_earlier(rejoin->deadline, clock_monotonic_ms() + REDIRECT_LIMIT_MS);
	bool		there = standby_streams(conn, &rejoin->upstream);
	double		streaming = 0;

	if (!there)
		json_array_append_new(rejoin->tried, json_string("follow"));
	if (there || standby_redirect(rejoin->ctx, conn, &rejoin->upstream) == 0)
		streaming = standby_wait_streaming(rejoin->ctx, conn, &rejoin->upstream, &rejoin->goal, limit,
										   rejoin->deadline);
	if (streaming == 0)
		return false;
	action_forget_error(rejoin->ctx);
	json_object_set_new(rejoin->result, "method", json_string(there ? "none" : "follow"));
	json_object_set_new(rejoin->result, "streaming_ms", json_real(streaming));
	rejoin_remove_seal(rejoin);
	return true;
}

/*
 * Only a stopped primary tells whether it has written past the fork. If it is refused then (its seal was lifted
 * meanwhile, or cannot be read), it is not started again: it would come up as a primary, beside another one.
 */
static int
judge_stopped(Rejoin *rejoin)
{
	char	   *start;

	if (rejoin_stop_server(rejoin) < 0)
		return -1;
	rejoin->facts.running = false;
	if (rejoin_judge(rejoin, NULL) == 0)
		return 0;
	start = control_start_words(rejoin->pg);
	action_detail_more(rejoin->ctx, "The server was stopped to find that out, and stays down; "
					   "to start it as it was: %s", start);
	free(start);
	return -1;
}

/*
 * Whatever way was asked for: when the order is taken up again by a later agent and nothing is left of what was
 * begun, a person has put this directory here. If it streams, that is what was wanted.
 */
static bool
may_be_there_already(Rejoin *rejoin)
{
	return rejoin->rule.follow || (rejoin->ctx->resumed && !layout_has_work(rejoin->pg));
}

/* 1: done, it follows already; 0: the ways may be tried; -1: the job failed, and the server is as it was */
static int
handle_running(Rejoin *rejoin)
{
	PGconn	   *conn = control_wait_ready(rejoin->ctx,
										  clock_earlier(rejoin->deadline, clock_monotonic_ms() + STREAM_LIMIT_MS));
	int			rc;

	/* a standby that cannot become consistent accepts nobody: its directory tells what it is */
	action_forget_error(rejoin->ctx);
	if (!conn && !file_exists_in(rejoin->place, "standby.signal"))
		return action_fail(rejoin->ctx, STATE_CONNECTION_FAILURE, "the server runs and does not answer");
	rc = rejoin_judge(rejoin, conn);
	if (rc == 0 && conn && may_be_there_already(rejoin) && redirected(rejoin, conn))
		rc = 1;
	PQfinish(conn);
	if (rc == 0 && rejoin->follow_only)
		rc = action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the standby does not stream from %s:%s",
						 rejoin->upstream.host, rejoin->upstream.port);
	if (rc == 0)
		action_forget_error(rejoin->ctx);
	if (rc == 0)
		rc = rejoin_check_ways(rejoin);
	return rc == 0 && rejoin->facts.primary ? judge_stopped(rejoin) : rc;
}

/* A hidden one is elsewhere. Any other work that was interrupted is finished first. */
static int
find_place(Rejoin *rejoin)
{
	char	   *hidden = layout_work(rejoin->pg, "hidden");
	char	   *saved = layout_work(rejoin->pg, "saved");
	LayoutPhase phase = layout_phase(rejoin->ctx);
	int			rc = layout_check_mark(rejoin->ctx);

	if (rc == 0 && layout_has_work(rejoin->pg))
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
	snprintf(rejoin->place, sizeof(rejoin->place), "%s", rejoin->facts.half_rewound ? hidden : rejoin->pg->data);
	/* pg_rewind removes postmaster.opts from what it works on */
	rejoin->options = postmaster_options(rejoin->facts.half_rewound ? saved : rejoin->pg->data);
	free(saved);
	free(hidden);
	return rc;
}

/* A standby that ran is not left down because it could not be helped. */
static void
start_again(Rejoin *rejoin)
{
	if (rejoin->facts.primary || control_running(rejoin->pg) || layout_phase(rejoin->ctx) != LAYOUT_WHOLE)
		return;
	if (control_start(rejoin->ctx) == 0)
		log_info("rejoin: the standby was started again as it was");
}

/*
 * Transactions of clients that the source lacks, as far as that can be told: they are given up by the words of a
 * risk. What is half rewound was looked at before that was begun.
 */
static bool
has_its_own(const Rejoin *rejoin)
{
	const RejoinFacts *facts = &rejoin->facts;

	return facts->risk && !facts->half_rewound && facts->relation == RELATION_ANCESTOR &&
		facts->past_fork != PAST_FORK_NO && !facts->writes_end_before_fork;
}

static int
run_rejoin(Rejoin *rejoin)
{
	bool		was_standby;
	int			rc;

	rejoin->facts.running = control_running(rejoin->pg);
	rc = find_place(rejoin);
	if (rc == 0)
		rc = source_inspect(rejoin->ctx, &rejoin->source);
	if (rc < 0)
		return -1;
	rejoin->goal = (Goal) {rejoin->source.timeline, rejoin->source.lsn};
	rc = rejoin->facts.running ? handle_running(rejoin) : rejoin->follow_only ?
		action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "this server does not run") :
		rejoin_judge(rejoin, NULL);
	if (rc != 0)
		return rc;
	was_standby = rejoin->facts.running && !rejoin->facts.primary;
	rc = has_its_own(rejoin) ? lost_keep(rejoin) : 0;
	if (rc == 0)
		rc = rejoin_try_ways(rejoin);
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
	while (!server_claim(rejoin->pg->data))
	{
		action_progress(rejoin->ctx, -1, "waiting for another rejoin");
		if (action_cancelled(rejoin->ctx))
			return action_fail(rejoin->ctx, STATE_CANCELED, "the job was cancelled");
		if (clock_monotonic_ms() > rejoin->deadline)
			return action_fail(rejoin->ctx, STATE_TIMED_OUT, "another rejoin is under way");
		sleep_ms(POLL_MS);
	}
	if (rejoin_check_epoch(rejoin) == 0)
		return 0;
	server_release(rejoin->pg->data);
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

static void
name_node(Rejoin *rejoin)
{
	const char *node = rejoin->ctx->config->node;

	if (*rejoin->pg->name)
		snprintf(rejoin->who, sizeof(rejoin->who), "instance \"%s\" of node \"%s\"", rejoin->pg->name, node);
	else
		snprintf(rejoin->who, sizeof(rejoin->who), "node \"%s\"", node);
}

static int
rejoin_node(ActionContext *ctx, json_t *params, json_t *result, bool follow_only, const RejoinHeir *heir)
{
	Rejoin		rejoin = {
		.ctx = ctx,
		.pg = ctx->pg,
		.heir = heir,
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
	name_node(&rejoin);
	if (read_order(&rejoin, params) < 0 || lock_server(&rejoin) < 0)
		return -1;
	rc = run_rejoin(&rejoin);
	if (rc >= 0)
	{
		layout_clean_up(ctx);
		if (!follow_only)
			settings_put_back(ctx); /* of a run that was about a primary; nobody else may come to do it */
	}
	server_release(rejoin.pg->data);
	free(rejoin.source.history);
	text_free_list(rejoin.options);
	return rc < 0 ? -1 : 0;
}

int
action_pg_rejoin(ActionContext *ctx, json_t *params, json_t *result)
{
	return rejoin_node(ctx, params, result, false, NULL);
}

int
rejoin_heir(ActionContext *ctx, json_t *params, json_t *result, const RejoinHeir *heir)
{
	return rejoin_node(ctx, params, result, false, heir);
}

/* A running standby changes its upstream by reload; it is never stopped for it. */
int
action_pg_follow(ActionContext *ctx, json_t *params, json_t *result)
{
	return rejoin_node(ctx, params, result, true, NULL);
}
