/*
 * away.c - the phase "away": an agent has a job in which the database may go. For example it stops the server and
 * starts another one.
 *
 * The journal says that the job was ordered, before the order. Afterwards a worker asks the agent for the job and
 * takes in what it says. It may be this worker, its successor, or that of a server of another major. The job is never
 * ordered a second time: an agent that does not know it any more cannot say how far it came, so an operator must
 * look.
 */
#include "postgres.h"

#include "worker/job.h"
#include "worker/journal.h"
#include "worker/phase/phase.h"
#include "worker/step.h"

static Step *
step_that_is_away(void)
{
	for (int i = 0; i < run->nsteps; i++)
		if (step_is_away(&run->steps[i]))
			return &run->steps[i];
	return NULL;
}

static uint32
look(void)
{
	return run_facts() | (step_that_is_away() ? FACT_AWAY : 0);
}

static long
work(RunWork what)
{
	Step	   *step = step_that_is_away();

	if (step->call == NULL && step->post_at == 0)
		job_resume(run, step);	/* a predecessor has ordered it */
	if (what == WORK_GIVE_UP)
		step_give_up(step);		/* after that: a step without a key is one that no agent works on */
	step_move(step);
	run_publish();
	return step->state > STEP_RUNNING ? 0 : 20;
}

static void
leave(const Rule *rule)
{
	if (run_may_journal())		/* not while the run has this server sealed; it is saved when that is over */
		journal_save_steps(run);
}

const Phase phase_away = {NULL, look, work, leave};
