/*
 * arbiter.h
 *		A witness that is no node: [etcd.CLUSTER], which every agent of a cluster asks and tells.
 *
 * It knows the highest epoch that a promotion was ordered for, and the claim of a failover. Without its word no run
 * promotes, so its word counts for a primary that starts while nodes are silent. Where none is configured, all is
 * granted.
 */
#ifndef PINGPONG_AGENT_ARBITER_ARBITER_H
#define PINGPONG_AGENT_ARBITER_ARBITER_H

#include <jansson.h>

#include "agent/arbiter/memory.h"
#include "agent/core/config.h"

typedef enum ArbiterEnd
{
	ARBITER_GRANTED,			/* and durable there, or there is no arbiter */
	ARBITER_REFUSED,			/* by what it knows; with a sentence */
	ARBITER_SILENT				/* no answer; with a sentence. The change may have been made */
} ArbiterEnd;

extern const ConfigKind arbiter_kinds[];

extern bool arbiter_configured(const AgentConfig *config);

/* As an agent tells it: name, answered, and epoch, claimed (0: none), claimed_by, or error. NULL: there is none. */
extern json_t *arbiter_word(const AgentConfig *config);

/* ttl_ms: of a claim; it ends by itself. */
extern ArbiterEnd arbiter_change(const AgentConfig *config, ArbiterRule *rule, const char *run, int64_t epoch,
								 int64_t ttl_ms, char *why, size_t why_size);

#endif							/* PINGPONG_AGENT_ARBITER_ARBITER_H */
