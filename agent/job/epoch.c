/*
 * epoch.c
 *		The highest epoch that was proved to this agent. Orders of an older one are refused.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/epoch.h"

static int64_t highest;
static int64_t kept;			/* on disk */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* held while the file is written */

int
epoch_read(const char *state_dir, int64_t *epoch, char *error, size_t error_size)
{
	char	   *path = xasprintf("%s/epoch", state_dir);
	char	   *text = file_read(path, 64, NULL);
	int			reason = text ? 0 : errno;
	char	   *end = text;
	int			rc = 0;

	*epoch = text ? strtoll(text, &end, 10) : 0;
	if (text ? end == text || *epoch < 0 : reason != ENOENT)
	{
		snprintf(error, error_size, "could not read \"%s\", and without the epoch orders of an older run would be "
				 "taken: %s", path, text ? "it is not a number" : strerror(reason));
		rc = -1;
	}
	free(text);
	free(path);
	return rc;
}

static int
write_epoch(const char *state_dir, int64_t epoch)
{
	char	   *path = xasprintf("%s/epoch", state_dir);
	char		text[32];
	int			len = snprintf(text, sizeof(text), "%lld\n", (long long) epoch);
	int			rc = file_write_atomic(path, text, len, 0600, true);
	int			reason = errno;

	if (rc < 0)
		log_error("could not write \"%s\": %s", path, strerror(reason));
	free(path);
	errno = reason;
	return rc;
}

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
		rc = write_epoch(config->state_dir, highest);
	if (rc == 0)
		kept = highest;
	pthread_mutex_unlock(&lock);
	return rc;
}

int
epoch_start(const AgentConfig *config, int64_t proved, char *error, size_t error_size)
{
	int			rc = epoch_read(config->state_dir, &highest, error, error_size);

	kept = highest;
	epoch_raise(proved);
	return rc;
}
