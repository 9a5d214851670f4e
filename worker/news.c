/*
 * news.c - what the agents told last, in shared memory.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "worker/news.h"

typedef struct NewsShared
{
	LWLock	   *lock;			/* guards all of it */
	CopiesNews	copies;
	int			n;
	AgentNews	nodes[NEWS_NODES];
} NewsShared;

static NewsShared *shared;

void
news_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(NewsShared)));
	RequestNamedLWLockTranche("pg_pingpong news", 1);
}

void
news_shmem_startup(void)
{
	bool		found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("pg_pingpong news", sizeof(NewsShared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(NewsShared));
		shared->lock = &GetNamedLWLockTranche("pg_pingpong news")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

static bool
is_among(const char *name, char (*names)[PP_NAME_LEN], int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

void
news_keep(char (*names)[PP_NAME_LEN], int n)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->n;)
	{
		if (is_among(shared->nodes[i].node, names, n))
			i++;
		else
			shared->nodes[i] = shared->nodes[--shared->n];
	}
	LWLockRelease(shared->lock);
}

/* The entry of a node, made if need be; NULL: there is no room. The lock is held. */
static AgentNews *
entry_of(const char *node)
{
	AgentNews  *entry;

	for (int i = 0; i < shared->n; i++)
		if (strcmp(shared->nodes[i].node, node) == 0)
			return &shared->nodes[i];
	if (shared->n == NEWS_NODES)
		return NULL;
	entry = &shared->nodes[shared->n++];
	memset(entry, 0, sizeof(AgentNews));
	strlcpy(entry->node, node, sizeof(entry->node));
	return entry;
}

void
news_told(const AgentNews *news)
{
	AgentNews  *entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if ((entry = entry_of(news->node)) != NULL)
		*entry = *news;
	LWLockRelease(shared->lock);
}

void
news_silent(const char *node, TimestampTz asked_at, const char *error)
{
	AgentNews  *entry;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if ((entry = entry_of(node)) != NULL)
	{
		entry->asked_at = asked_at;
		if (entry->silent_since == 0)
			entry->silent_since = asked_at;
		strlcpy(entry->error, error, sizeof(entry->error));
	}
	LWLockRelease(shared->lock);
}

void
news_counted(int copies, TimestampTz at)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (shared->copies.since == 0 || shared->copies.copies != copies)
		shared->copies.since = at;
	shared->copies.copies = copies;
	shared->copies.counted_at = at;
	LWLockRelease(shared->lock);
}

int
news_read(AgentNews *to, CopiesNews *copies)
{
	int			n;

	LWLockAcquire(shared->lock, LW_SHARED);
	n = shared->n;
	memcpy(to, shared->nodes, n * sizeof(AgentNews));
	*copies = shared->copies;
	LWLockRelease(shared->lock);
	return n;
}
