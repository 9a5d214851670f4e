/*
 * claim.h
 *		The epoch that a failover claims before it promotes: whoever asks whether a primary may open has to wait.
 *
 * It proves nothing, and refuses no order: a failover that comes to nothing leaves no trap. It ends by its release,
 * when its time is over, and when an epoch that is as high is proved.
 */
#ifndef PINGPONG_AGENT_JOB_CLAIM_H
#define PINGPONG_AGENT_JOB_CLAIM_H

#include <stdint.h>

#include "agent/core/config.h"

/*
 * Durable when they return: 0, or -1 with errno. EEXIST: another run has claimed an epoch that is not older. The
 * release is of a run's own claim; that of another one stays.
 */
extern int	claim_set(const AgentConfig *config, const char *run, int64_t epoch, int64_t ttl_ms);
extern int	claim_release(const AgentConfig *config, const char *run);

/* The epoch that is claimed now; 0: none. What cannot be read counts as none: it says so in the log. */
extern int64_t claim_current(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_JOB_CLAIM_H */
