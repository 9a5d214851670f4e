/*
 * news.c
 *		What is known of the agent's jobs: from the agent, or, where it does not answer, from its journal.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/job/journal.h"
#include "agent/job/view.h"
#include "agent/status/ask.h"
#include "agent/status/news.h"
#include "common/protocol.h"

static double
number_of(json_t *job, const char *name)
{
	return json_number_value(json_object_get(job, name));
}

static int
compare(const void *a, const void *b)
{
	double		first = number_of(*(json_t *const *) a, "received_ms");
	double		second = number_of(*(json_t *const *) b, "received_ms");

	return first < second ? -1 : first > second;
}

/* Those of the run, in the order in which the agent got them. Borrows the list. */
static json_t *
sorted(json_t *list, const char *run)
{
	size_t		n = json_array_size(list);
	json_t	  **jobs = xalloc((n + 1) * sizeof(json_t *));
	json_t	   *result = json_array();
	size_t		found = 0;

	for (size_t i = 0; i < n; i++)
		if (!run || strcmp(protocol_text(json_array_get(list, i), "run"), run) == 0)
			jobs[found++] = json_array_get(list, i);
	qsort(jobs, found, sizeof(json_t *), compare);
	for (size_t i = 0; i < found; i++)
		json_array_append(result, jobs[i]);
	free(jobs);
	return result;
}

static double
newest_clock(json_t *jobs)
{
	double		newest = 0;
	json_t	   *job;
	size_t		i;

	json_array_foreach(jobs, i, job)
		if (number_of(job, "clock_ms") > newest)
			newest = number_of(job, "clock_ms");
	return newest;
}

static void
take_record(json_t *record, void *list)
{
	if (!json_is_object(record) || !json_is_array(json_object_get(record, "actions")))
		return;
	jobview_shorten(record);
	json_array_append(list, record);
}

/* `why` has the reason for looking there already. */
static json_t *
read_journal(const AgentConfig *config, News *news)
{
	json_t	   *list = json_array();
	char	   *reason;

	news->old = true;
	if (journal_read_all(config->state_dir, take_record, list) == 0)
		return list;
	json_decref(list);
	reason = xasprintf("%s; and its journal in \"%s\" cannot be read: %s", news->why, config->state_dir,
					   strerror(errno));
	snprintf(news->why, sizeof(news->why), "%s", reason);
	free(reason);
	return NULL;
}

int
news_get(const AgentConfig *config, const char *run, News *news)
{
	json_t	   *answer = NULL;
	json_t	   *list = NULL;
	char		path[256];
	AskResult	result;

	memset(news, 0, sizeof(*news));
	protocol_jobs_path(path, sizeof(path), run);
	result = ask_agent(config, path, &answer, news->why, sizeof(news->why));
	if (result == ASK_ANSWERED)
		list = json_incref(json_object_get(answer, "jobs"));
	else if (result == ASK_NOBODY)
		list = read_journal(config, news);
	if (result == ASK_ANSWERED && !json_is_array(list))
		snprintf(news->why, sizeof(news->why), "the answer of the agent of \"%s\" is not understood", config->node);
	else if (list)
		news->jobs = sorted(list, run);
	news->told_ms = newest_clock(news->jobs);
	json_decref(list);
	json_decref(answer);
	return news->jobs ? 0 : -1;
}

void
news_free(News *news)
{
	json_decref(news->jobs);
	news->jobs = NULL;
}
