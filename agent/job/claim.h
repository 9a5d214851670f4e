/*
 * claim.h
 *		The epoch that a failover claims before it promotes: whoever asks whether a primary may open has to wait.
 *
 * It proves nothing, and refuses no order: a failover that comes to nothing leaves no trap. It ends by its release,
 * when its time is over, and when an epoch that is as high is proved. Only one run has a claim at a time, whatever
 * the epochs are. A promotion of this node's server that may still happen is a claim, too, and no time ends it.
 */
#ifndef PINGPONG_AGENT_JOB_CLAIM_H
#define PINGPONG_AGENT_JOB_CLAIM_H

#include <stddef.h>
#include <stdint.h>

#include "agent/core/config.h"
#include "common/protocol.h"

/*
 * Durable when they return: 0, or -1 with errno. EEXIST: another run has a claim that is not over. The release is of
 * a run's own claim; that of another one stays.
 */
extern int	claim_set(const AgentConfig *config, const char *run, int64_t epoch, int64_t ttl_ms);
extern int	claim_release(const AgentConfig *config, const char *run);

typedef struct Claim
{
	int64_t		epoch;			/* 0: none */
	char		run[PINGPONG_KEY_MAX + 1];	/* whose it is; "": of nobody, or not known */
} Claim;

/* What cannot be read counts as none: it says so in the log. */
typedef struct ClaimNow
{
	Claim		noted;			/* what a failover has claimed */
	Claim		pending;		/* a promotion of this node's server that may still happen */
	Claim		highest;		/* of the two */
} ClaimNow;

extern ClaimNow claim_current(const AgentConfig *config);

/* Of the one that is noted. */
typedef enum ClaimHolder
{
	CLAIM_OF_NOBODY, CLAIM_OF_RUN, CLAIM_OF_OTHER
} ClaimHolder;

extern ClaimHolder claim_holder(const AgentConfig *config, const char *run);

/* The highest epoch of a promotion that may still happen, and its run; 0: none. Once, before anybody asks. */
typedef int64_t PendingPromotion(const AgentConfig *config, char *run, size_t run_size);

extern void claim_count_promotions(PendingPromotion *look);

#endif							/* PINGPONG_AGENT_JOB_CLAIM_H */
