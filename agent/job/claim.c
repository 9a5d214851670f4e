/*
 * claim.c
 *		The epoch that a failover claims: state_dir/claim.
 *
 * By the wall clock: a clock that is set forward ends the claim early, one that is set back makes it last. Either way
 * the promote token, which has a clock that nobody sets, and the failover's second look at the old primary decide.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/claim.h"
#include "agent/job/epoch.h"
#include "agent/job/params.h"

#define CLAIM_MAX 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;	/* of the file */

static char *
claim_path(const AgentConfig *config)
{
	return xasprintf("%s/claim", config->state_dir);
}

/* A new reference; NULL: there is none. */
static json_t *
read_claim(const AgentConfig *config)
{
	char	   *path = claim_path(config);
	char	   *text = file_read(path, CLAIM_MAX, NULL);
	json_t	   *claim = text ? json_loads(text, 0, NULL) : NULL;

	if (text && !claim)
		log_warning("\"%s\" is no JSON: what it claims is not known", path);
	free(text);
	free(path);
	return claim;
}

static bool
is_over(json_t *claim)
{
	return clock_realtime_ms() >= json_number_value(json_object_get(claim, "until_ms")) ||
		param_int(claim, "epoch", 0) <= epoch_current();
}

static bool
is_of_other(json_t *claim, const char *run, int64_t epoch)
{
	return claim && !is_over(claim) && strcmp(param_string(claim, "run", ""), run) != 0 &&
		param_int(claim, "epoch", 0) >= epoch;
}

int
claim_set(const AgentConfig *config, const char *run, int64_t epoch, int64_t ttl_ms)
{
	char	   *path = claim_path(config);
	json_t	   *claim = json_pack("{s:s, s:I, s:f}", "run", run, "epoch", (json_int_t) epoch, "until_ms",
								  clock_realtime_ms() + (double) ttl_ms);
	char	   *text = json_dumps(claim, JSON_COMPACT | JSON_REAL_PRECISION(16));
	json_t	   *present;
	int			rc = -1;
	int			reason = EEXIST;

	pthread_mutex_lock(&lock);
	present = read_claim(config);
	if (!is_of_other(present, run, epoch))
	{
		rc = file_write_atomic(path, text, strlen(text), 0600, true);
		reason = errno;
	}
	pthread_mutex_unlock(&lock);
	json_decref(present);
	free(text);
	json_decref(claim);
	free(path);
	errno = reason;
	return rc;
}

int
claim_release(const AgentConfig *config, const char *run)
{
	char	   *path = claim_path(config);
	json_t	   *claim;
	int			rc = 0;

	pthread_mutex_lock(&lock);
	claim = read_claim(config);
	if (claim && strcmp(param_string(claim, "run", ""), run) == 0 && unlink(path) < 0 && errno != ENOENT)
		rc = -1;
	pthread_mutex_unlock(&lock);
	json_decref(claim);
	free(path);
	return rc;
}

int64_t
claim_current(const AgentConfig *config)
{
	json_t	   *claim;
	int64_t		epoch = 0;

	pthread_mutex_lock(&lock);
	claim = read_claim(config);
	pthread_mutex_unlock(&lock);
	if (claim && !is_over(claim))
		epoch = param_int(claim, "epoch", 0);
	json_decref(claim);
	return epoch;
}
