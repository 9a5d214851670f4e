/*
 * news.h - what the agents told last, in shared memory: how each node is, and since when its agent is silent.
 *
 * The worker writes it (watch.c), any backend reads it, each under its lock. It is bounded; after a restart of the
 * server it is empty.
 */
#ifndef PINGPONG_NEWS_H
#define PINGPONG_NEWS_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#include "worker/failure.h"

#define NEWS_NODES		32		/* of more nodes than that the others are not asked */

/* Of one node. Times are of this server's clock; 0: never. */
typedef struct AgentNews
{
	char		node[PP_NAME_LEN];
	TimestampTz asked_at;		/* when the last question was put that was answered, or given up */
	TimestampTz seen_at;		/* when the agent had looked at its server, not later than that */
	TimestampTz silent_since;	/* the first question without an answer behind the last one with one; 0: it answers */
	char		error[256];		/* why there was no answer; "": there was */
	/* of the last answer, whatever came later */
	char		role[12];		/* as in /v1/state of the agent */
	int			timeline;		/* 0: not told */
	XLogRecPtr	lsn;			/* invalid: not told */
	bool		streaming;
	char		version[32];	/* of its PostgreSQL; "": not told */
	uint64		system;			/* identifier of its server's; 0: not told */
	int64		epoch;			/* the highest that was proved to the agent; 0: none */
} AgentNews;

/* How many copies of this server could take over, as counted last, and since when there are so many. */
typedef struct CopiesNews
{
	int			copies;
	TimestampTz since;			/* 0: never counted */
	TimestampTz counted_at;
} CopiesNews;

/* From the hooks of the same names; news_shmem_startup() also after a crash restart. */
extern void news_shmem_request(void);
extern void news_shmem_startup(void);

/* Only the worker calls these. news_keep() forgets the nodes that are not among the n names. */
extern void news_keep(char (*names)[PP_NAME_LEN], int n);
extern void news_told(const AgentNews *news);
extern void news_silent(const char *node, TimestampTz asked_at, const char *error);
extern void news_counted(int copies, TimestampTz at);

/* A copy of all of it, in the order in which the nodes came; gives the number of nodes. */
extern int	news_read(AgentNews *to, CopiesNews *copies);

#endif
