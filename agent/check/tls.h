/*
 * tls.h
 *		--check: certificates and keys, of the agent and of those that may control it.
 */
#ifndef PINGPONG_AGENT_CHECK_TLS_H
#define PINGPONG_AGENT_CHECK_TLS_H

#include "agent/core/config.h"

extern void check_tls(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_TLS_H */
