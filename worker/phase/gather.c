/*
 * gather.c - before a run there are facts: every agent is asked, preflight
 * judges, and only then is a run stored.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "worker/job.h"
#include "worker/journal.h"
#include "worker/mailbox.h"
#include "worker/phase/gather.h"
#include "worker/relaxation.h"
#include "worker/runbook.h"
#include "worker/settings.h"

#define FACTS_MS		5000

void
gather_start(void)
{
	char		key[64];
	bool		move = run->request != REQUEST_RUN;

	run->phase = RUN_GATHERING;
	run->calls = palloc0(Max(run->nnodes, 1) * sizeof(AgentCall *));
	snprintf(key, sizeof(key), "f%lld", (long long) GetCurrentTimestamp());
	strlcpy(run->key, "facts", sizeof(run->key));
	for (int i = 0; i < run->nnodes; i++)
	{
		json_t	   *params;

		if (run->nodes[i].away && strcmp(run->nodes[i].name, run->target) != 0)
			continue;			/* it may be gone for ever: nobody waits for it */
		params = move ? journal_facts_params(run->nodes[i].name, run->target) : json_new();

		run->calls[i] = agents_post(run->nodes[i].url, "/v1/jobs", job_request(run, key, "facts", params, FACTS_MS), FACTS_MS + 1000);
	}
}

static void
store_fact(RunNode *node, AgentCall *call)
{
	const char *state = json_string_value(json_object_get(call->body, "state"));
	json_t	   *error = json_object_get(call->body, "error");
	json_t	   *facts = job_result(call->body);
	char	   *text = facts && state && strcmp(state, "succeeded") == 0 ? json_dumps(facts, JSON_COMPACT) : NULL;
	const char *why = call->status == 200 ? json_string_value(json_object_get(error, "message")) : call->error;

	if (text == NULL && why == NULL)
		why = call->body == NULL ? call->error : "the agent did not finish in time";
	journal_store_fact(node->name, text != NULL, text ? NULL : why, text);
	free(text);
}

/* Nothing was begun yet: whoever asked has gone, or need not wait for the agents. */
static void
drop_request(void)
{
	failure_set(&run->failure, "57014", "the run was cancelled before it began");
	run_answer("refused");
	run_forget();
}

/* Preflight has passed or not; if so, the run begins. */
static void
facts_are_in(void)
{
	int			failed;
	char	   *names;

	if (run->request == REQUEST_FACTS)
	{
		run_answer("facts");
		run_forget();
		return;
	}
	if (run->request == REQUEST_SWITCHOVER)
	{
		failed = journal_preflight(run, &run->failure);
		if (run_cancelled_by_caller())
		{
			drop_request();
			return;
		}
		if (failed > 0)
		{
			run_answer("refused");
			run_forget();
			return;
		}
		mailbox_event("preflight passed");
		json_object_set_new(run->notes, "timeline", json_integer(GetWALInsertionTimeLine()));
		json_object_set_new(run->notes, "standbys", journal_standby_names());
		names = relaxation_remembered(worker_self(), "synchronous_standby_names");	/* of an earlier run, not restored yet */
		json_object_set_new(run->notes, "synchronous_standby_names",
							json_string(names ? names : GetConfigOption("synchronous_standby_names", false, false)));
	}
	journal_find_routes(run);
	journal_create_run(run);
	runbook_load(run);
	journal_save_run(run);
	journal_save_steps(run);
	run->phase = RUN_FORWARD;
	mailbox_event("run " INT64_FORMAT ": %s from \"%s\" to \"%s\"", run->id, run->runbook, run->source, run->target);
}

/* Each answer is stored when it comes: its clock is compared with that moment. */
long
gather_advance(void)
{
	bool		waiting = false;

	if (run_cancelled_by_caller())
	{
		drop_request();
		return 0;
	}
	for (int i = 0; i < run->nnodes; i++)
	{
		if (run->calls[i] == NULL)
			continue;
		if (!run->calls[i]->done)
		{
			waiting = true;
			continue;
		}
		store_fact(&run->nodes[i], run->calls[i]);
		agents_release(run->calls[i]);
		run->calls[i] = NULL;
	}
	if (waiting)
		return 10;
	facts_are_in();
	return 0;
}
