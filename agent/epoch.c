/*
 * epoch.c
 *		The highest epoch that was proved to this agent: orders of an older one are refused.
 */
#include <pthread.h>

#include "agent/epoch.h"
#include "agent/jobs.h"

static int64_t highest;
static int64_t kept;			/* on disk */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* held while the file is written */

int64_t
epoch_current(void)
{
	return __atomic_load_n(&highest, __ATOMIC_ACQUIRE);
}

void
epoch_raise(int64_t epoch)
{
	pthread_mutex_lock(&lock);
	if (epoch > highest)
		__atomic_store_n(&highest, epoch, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&lock);
}

int
epoch_keep(const AgentConfig *config)
{
	int			rc = 0;

	pthread_mutex_lock(&lock);
	if (kept != highest)
		rc = journal_write_epoch(config->state_dir, highest);
	if (rc == 0)
		kept = highest;
	pthread_mutex_unlock(&lock);
	return rc;
}

int
epoch_start(const AgentConfig *config, int64_t proved, char *error, size_t error_size)
{
	int			rc = journal_read_epoch(config->state_dir, &highest, error, error_size);

	kept = highest;
	epoch_raise(proved);
	return rc;
}
