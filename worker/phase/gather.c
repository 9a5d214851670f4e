/*
 * gather.c - the phase "gathering": asks every agent for its facts and runs preflight. Only then a run is stored, so
 * a request that is refused or cancelled here leaves nothing behind.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/guc.h"

#include "common/sqlstate.h"
#include "worker/facts.h"
#include "worker/failover.h"
#include "worker/job.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/relaxation.h"
#include "worker/runbook.h"
#include "worker/settings.h"
#include "worker/sight.h"

#define FACTS_MS		5000
#define UPGRADE_FACTS_MS 30000	/* every database is visited */

static bool
is_upgrade(void)
{
	return strcmp(run->runbook, RUNBOOK_UPGRADE) == 0;
}

/* What an agent is to tell besides what it always tells. */
static json_t *
facts_params(const char *node)
{
	if (is_upgrade())
		return json_pack("{s:{s:i, s:s}}", "upgrade", "to_version", run_option_int(run, "to_version", 0),
						 "mode", run_option_text(run, "mode", "copy"));
	return run->request == REQUEST_RUN ? json_new() : journal_facts_params(node, run->target);
}

/* A failover, or the question what it would do: nothing can be stored, and old facts do not count. */
static bool
is_on_standby(void)
{
	return run->request == REQUEST_SIGHT || run->request == REQUEST_FAILOVER;
}

/* What it needs is what the agents see of each other now. */
static void
enter_on_standby(void)
{
	run->calls = palloc0(Max(run->nnodes, 1) * sizeof(AgentCall *));
	(void) failover_find_source(run);	/* if none is known, that is what the answer will say */
	sight_ask(run, run->source);
}

static uint32
look_on_standby(void)
{
	if (run_cancelled_by_caller())
		return FACT_CANCELLED;
	if (sight_take(run))
		return FACT_WAITING;
	if (run->request == REQUEST_SIGHT)
		return FACT_ONLY_ASKED;
	return failover_judge(run) ? 0 : FACT_REFUSED;
}

static void
enter(const Rule *rule)
{
	int			limit = is_upgrade() ? UPGRADE_FACTS_MS : FACTS_MS;

	if (is_on_standby())
	{
		enter_on_standby();
		return;
	}
	run->checked = run->request == REQUEST_SWITCHOVER || (run->request == REQUEST_RUN && is_upgrade());
	run->calls = palloc0(Max(run->nnodes, 1) * sizeof(AgentCall *));
	for (int i = 0; i < run->nnodes && !run->asks_none; i++)
	{
		if (run->nodes[i].away && strcmp(run->nodes[i].name, run->target) != 0)
			continue;			/* it may be gone for ever: no run waits for it */
		run->calls[i] = facts_ask(run, run->nodes[i].name, facts_params(run->nodes[i].name), limit);
	}
}

static uint32
look(void)
{
	uint32		facts = run->request == REQUEST_FACTS ? FACT_ONLY_ASKED : 0;

	if (is_on_standby())
		return look_on_standby();
	if (!run_cancelled_by_caller())
	{
		if (job_take_answers(run, facts_store))	/* each is stored when it comes */
			facts |= FACT_WAITING;
		else if (run->checked && journal_preflight(run, &run->failure) > 0)
			facts |= FACT_REFUSED;
	}
	return facts | (run_cancelled_by_caller() ? FACT_CANCELLED : 0);
}

static long
work(RunWork what)
{
	return 10;
}

/* What the run must know later about the server of now. */
static void
note_server(void)
{
	/* of an earlier run, not restored yet */
	char	   *names = relaxation_remembered(worker_self(), "synchronous_standby_names");

	json_object_set_new(run->notes, "timeline", json_integer(GetWALInsertionTimeLine()));
	json_object_set_new(run->notes, "system", json_sprintf(UINT64_FORMAT, GetSystemIdentifier()));
	json_object_set_new(run->notes, "standbys", journal_standby_names());
	json_object_set_new(run->notes, "synchronous_standby_names",
						json_string(names ? names : GetConfigOption("synchronous_standby_names", false, false)));
}

static void
begin_run(void)
{
	if (run->checked)
		mailbox_event("preflight passed");
	if (run->request == REQUEST_SWITCHOVER)
		note_server();
	journal_find_routes(run);
	journal_create_run(run);
	runbook_load(run);
	journal_save_run(run);
	journal_save_steps(run);
	mailbox_event("run " INT64_FORMAT ": %s from \"%s\" to \"%s\"", run->id, run->runbook, run->source, run->target);
}

static void
leave(const Rule *rule)
{
	if (rule->next == RUN_FORWARD && is_on_standby())
		failover_begin(run);
	else if (rule->next == RUN_FORWARD)
		begin_run();
	else if (rule->next == RUN_DROPPED)
		failure_set(&run->failure, STATE_CANCELED, "the run was cancelled before it began");
}

const Phase phase_gather = {enter, look, work, leave};
