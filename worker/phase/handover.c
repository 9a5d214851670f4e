/*
 * handover.c - the phase "handing over": the old primary has done its part. It answers the caller and sends its
 * measurements to the target's agent, where the worker of the new primary finds them. It cannot write them: it is
 * sealed.
 */
#include "postgres.h"

#include "worker/baton.h"
#include "worker/blackout.h"
#include "worker/job.h"
#include "worker/mailbox.h"
#include "worker/phase/phase.h"
#include "worker/settings.h"

/*
 * Sends what was measured here to the target's agent, where its worker finds it. That worker cannot measure it
 * itself.
 */
static void
leave_note(void)
{
	agents_release(run->ask);
	run->ask = job_post(run, run->target, NOTE_STEP, ACTION_NOTE,
						json_pack("{s:f, s:o}", "blackout_ms", run->blackout_ms, "steps", blackout_steps(run)), 0,
						1000);
}

/* It cannot write any more. */
static void
enter(const Rule *rule)
{
	strlcpy(run->state, STATE_HANDED_OVER, sizeof(run->state));
	run_publish();
	if (!run->answered && run->unrecorded)
		mailbox_event("follow the run on \"%s\": SELECT * FROM pingpong.progress", run->target);
	else if (!run->answered)
		mailbox_event("\"%s\" comes back by itself; follow the run on \"%s\": SELECT * FROM pingpong.progress",
					  run->source, run->target);
	run_answer(run->switched ? "switched" : "promoted", false);
	if (run->unrecorded && strcmp(run->target, worker_self()) != 0)
		baton_remove();			/* that of the target is there, and this server is a standby of it */
	leave_note();
}

static uint32
look(void)
{
	return run->ask && !run->ask->done ? FACT_WAITING : 0;
}

static long
work(RunWork what)
{
	return 5;
}

const Phase phase_hand_over = {enter, look, work, NULL};
