/*
 * news.h
 *		What is known of the agent's jobs: from the agent, or, where it does not answer, from its journal.
 */
#ifndef PINGPONG_AGENT_STATUS_NEWS_H
#define PINGPONG_AGENT_STATUS_NEWS_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/core/config.h"

typedef struct News
{
	json_t	   *jobs;			/* oldest first; what the agent answers, without what came of the actions */
	bool		old;			/* of the journal: how it was when each record was written */
	double		told_ms;		/* CLOCK_REALTIME; of the journal: when the newest record was written. 0: no job */
	char		why[512];		/* why the agent does not tell */
} News;

/* Of that run (its key; NULL: of all). 0, or -1: neither agent nor journal tell, and `why` says why not. */
extern int	news_get(const AgentConfig *config, const char *run, News *news);
extern void news_free(News *news);

#endif							/* PINGPONG_AGENT_STATUS_NEWS_H */
