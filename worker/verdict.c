/*
 * verdict.c - promote was ordered and not answered: only the target's agent can
 * say what became of it. Until it does, this server stays sealed and asks.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "gate/gate.h"
#include "worker/journal.h"
#include "worker/runner.h"

#define ASK_US			(20 * 1000)

static void
ask_verdict(void)
{
	char		key[64];
	char	   *url = job_url(run, run->target);

	snprintf(key, sizeof(key), "verdict:%d:%d", MyProcPid, ++run->asks);
	run->ask = agents_post(url, "/v1/jobs", job_request(run, key, "token.burn", json_new(), 2000), 4000);
	snprintf(run->sentence, sizeof(run->sentence),
			 "sealed, waiting for the agent of \"%s\" to say whether it was promoted", run->target);
}

/* The verdict is in, so the step has its answer even if the first one was lost. */
static void
verdict_promoted(void)
{
	Step	   *promote = run_promote_step(run);

	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];

		if (strcmp(step->name, "promote") == 0)
			step->state = STEP_SUCCEEDED;
		else if (step->ordinal < promote->ordinal && step->state <= STEP_RUNNING)
			step->state = STEP_SUCCEEDED;
		else if (step->state == STEP_FAILED)
			step->state = STEP_PENDING;
	}
	run->sentence[0] = '\0';
	memset(&run->verdict, 0, sizeof(run->verdict));
	run->phase = RUN_FORWARD;
}

void
verdict_burned(void)
{
	Step	   *promote = run_promote_step(run);

	run->ordered = false;
	if (run->verdict.sqlstate[0])
		snprintf(run->sentence, sizeof(run->sentence), "the target was not promoted: %s", run->verdict.message);
	else
	{
		verdict_set(&run->verdict, "55000", "the target was not promoted");
		strlcpy(run->sentence, run->verdict.message, sizeof(run->sentence));
	}
	for (int i = 0; i < run->nsteps; i++)
		if (run->steps[i].state == STEP_PENDING && (promote == NULL || run->steps[i].ordinal < promote->ordinal) && run->steps[i].undo[0])
			run->steps[i].state = STEP_FAILED;	/* after a restart nobody knows: undo it all */
	undo_start();
}

long
verdict_advance(void)
{
	const char *verdict;

	run_publish();
	if (run_overruled())
	{
		undo_start();
		return 0;
	}
	if (run->ask == NULL)
	{
		if (GetCurrentTimestamp() >= run->ask_at)
			ask_verdict();
		return 10;
	}
	if (!run->ask->done)
		return 5;
	verdict = json_string_value(json_object_get(job_result(run->ask->body), "verdict"));
	if (verdict && strcmp(verdict, "promoted") == 0)
		verdict_promoted();
	else if (verdict && strcmp(verdict, "burned") == 0)
		verdict_burned();
	else if (!run->told_waiting)
	{
		run->told_waiting = true;
		mailbox_event("no verdict yet from the agent of \"%s\" (%s); this server stays sealed and asks again", run->target,
					  verdict ? verdict : run->ask->error);
		ereport(LOG, (errmsg("no verdict yet from the agent of \"%s\": %s", run->target, verdict ? verdict : run->ask->error)));
	}
	agents_release(run->ask);
	run->ask = NULL;
	run->ask_at = GetCurrentTimestamp() + (run->asks > 50 ? 1000000 : ASK_US);
	return 0;
}
