/*
 * claim.c
 *		The epoch that a failover claims: state_dir/claim.
 *
 * By the wall clock: a clock that is set forward ends the claim early, one that is set back makes it last. Either way
 * the promote token, which has a clock that nobody sets, and the failover's second look at the old primary decide. An
 * order to promote that is out has no clock at all: the server may obey it whenever it can.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
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
static PendingPromotion *pending_promotion; /* set once, before the first question */

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

static ClaimHolder
holder(json_t *claim, const char *run)
{
	if (!claim || is_over(claim))
		return CLAIM_OF_NOBODY;
	return strcmp(param_string(claim, "run", ""), run) == 0 ? CLAIM_OF_RUN : CLAIM_OF_OTHER;
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
	if (holder(present, run) != CLAIM_OF_OTHER)
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

ClaimHolder
claim_holder(const AgentConfig *config, const char *run)
{
	ClaimHolder found;
	json_t	   *claim;

	pthread_mutex_lock(&lock);
	claim = read_claim(config);
	pthread_mutex_unlock(&lock);
	found = holder(claim, run);
	json_decref(claim);
	return found;
}

void
claim_count_promotions(PendingPromotion *look)
{
	pending_promotion = look;
}

ClaimNow
claim_current(const AgentConfig *config)
{
	ClaimNow	now = {0};
	json_t	   *claim;

	pthread_mutex_lock(&lock);
	claim = read_claim(config);
	pthread_mutex_unlock(&lock);
	if (claim && !is_over(claim))
	{
		now.noted.epoch = param_int(claim, "epoch", 0);
		snprintf(now.noted.run, sizeof(now.noted.run), "%s", param_string(claim, "run", ""));
	}
	json_decref(claim);
	if (pending_promotion)
		now.pending.epoch = pending_promotion(config, now.pending.run, sizeof(now.pending.run));
	now.highest = now.pending.epoch > 0 && now.pending.epoch >= now.noted.epoch ? now.pending : now.noted;
	return now;
}
