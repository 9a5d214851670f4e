/*
 * handover.c - the end of the old primary's part, and what it leaves for the new one.
 */
#include "postgres.h"

#include "worker/blackout.h"
#include "worker/job.h"
#include "worker/mailbox.h"
#include "worker/phase/handover.h"

/* Sends what was measured here to the target's agent, where its worker finds it: it has seen the same from behind. */
static void
leave_note(void)
{
	char	   *url = job_url(run, run->target);

	if (url == NULL)
		return;
	agents_release(run->ask);
	run->ask = agents_post(url, "/v1/jobs", job_request(run, "blackout", "note",
														json_pack("{s:f, s:o}", "blackout_ms", run->blackout_ms, "steps", blackout_steps(run)), 0),
						   1000);
}

/* The old primary's part is over; it cannot write any more. */
void
handover_leave(void)
{
	strlcpy(run->state, RUN_HANDED_OVER, sizeof(run->state));
	run_publish();
	if (!run->answered)
		mailbox_event("\"%s\" comes back by itself; there the run goes on: SELECT * FROM pingpong.progress on \"%s\"",
					  run->source, run->target);
	run_answer(run->switched ? "switched" : "promoted");
	if (run->ask == NULL)
		leave_note();
	if (run->ask && !run->ask->done)
		return;
	run_forget();
}

/* The old primary's measurement of the blackout, if it reached our agent. True when asked. */
bool
handover_fetch(void)
{
	char		path[256];
	json_t	   *ms;

	if (run->noted)
		return true;
	if (run->ask == NULL)
	{
		snprintf(path, sizeof(path), "/v1/jobs/%s/blackout", run->key);
		run->ask = agents_get(job_url(run, run->target), path, 1000);
		return false;
	}
	if (!run->ask->done)
		return false;
	run->noted = true;
	blackout_take_steps(job_result(run->ask->body));
	ms = json_object_get(job_result(run->ask->body), "blackout_ms");
	if (json_is_number(ms) && json_number_value(ms) >= 0)
		run->blackout_ms = json_number_value(ms);
	return true;
}
