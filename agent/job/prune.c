/*
 * prune.c
 *		Which jobs are forgotten: old runs, and old questions.
 *
 * The caller holds jobs_lock, except for prune_questions(), which takes it.
 */
#include <string.h>

#include "agent/job/job.h"
#include "agent/job/journal.h"
#include "agent/job/params.h"
#include "agent/job/prune.h"
#include "agent/job/table.h"
#include "common/protocol.h"

#define JOB_RUNS_KEPT 50
#define JOB_QUESTIONS_KEPT 20

static bool
run_is_busy(const char *run)
{
	for (Job *job = job_table; job; job = job->next)
		if (strcmp(job->run, run) == 0 && (job->state == JOB_RUNNING || job->waiters > 0))
			return true;
	return false;
}

static void
forget_run(const char *run)
{
	Job		  **place = &job_table;

	while (*place)
	{
		Job		   *job = *place;

		if (strcmp(job->run, run) != 0)
		{
			place = &job->next;
			continue;
		}
		*place = job->next;
		job_free(job);
	}
}

/*
 * Keeps the runs whose newest job is among the newest; a busy run stays in any case.
 * Forgets one of the others and gives its name; false: none.
 */
bool
prune_one(char *run)
{
	const char *seen[JOB_RUNS_KEPT];
	int			n = 0;

	for (Job *job = job_table; job; job = job->next)
	{
		bool		known = false;

		for (int i = 0; i < n && !known; i++)
			known = strcmp(seen[i], job->run) == 0;
		if (known)
			continue;
		if (n < JOB_RUNS_KEPT)
		{
			seen[n++] = job->run;
			continue;
		}
		if (run_is_busy(job->run))
			continue;
		memcpy(run, job->run, sizeof(job->run));
		forget_run(run);
		return true;
	}
	return false;
}

/* Facts may be asked under another key, too. */
static Question
question_of(const Job *job)
{
	if (json_array_size(job->actions) == 1 &&
		strcmp(protocol_text(json_array_get(job->actions, 0), "action"), ACTION_FACTS) == 0)
		return QUESTION_FACTS;
	return protocol_question(job->run, job->step);
}

/*
 * They come under runs that stay among the newest ones, and nobody comes back to an old
 * question: forgets one of them and gives its name; false: none.
 */
static bool
prune_question(char *run, char *step)
{
	int			seen[QUESTIONS] = {0};

	for (Job **place = &job_table; *place; place = &(*place)->next)
	{
		Job		   *job = *place;
		Question	kind = question_of(job);

		if (kind == QUESTION_NONE || job->state == JOB_RUNNING || job->waiters > 0 ||
			++seen[kind] <= JOB_QUESTIONS_KEPT)
			continue;
		memcpy(run, job->run, sizeof(job->run));
		memcpy(step, job->step, sizeof(job->step));
		*place = job->next;
		job_free(job);
		return true;
	}
	return false;
}

/* The files go under the lock: a key that is asked again at once has the same one. */
void
prune_questions(const AgentConfig *config)
{
	char		run[PINGPONG_KEY_MAX + 1];
	char		step[PINGPONG_KEY_MAX + 1];

	pthread_mutex_lock(&jobs_lock);
	while (prune_question(run, step))
		journal_remove_job(config->state_dir, run, step);
	pthread_mutex_unlock(&jobs_lock);
}
