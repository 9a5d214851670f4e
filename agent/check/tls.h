/*
 * tls.h
 *		--check: certificates and keys, ours and those of who may control.
 */
#ifndef PINGPONG_AGENT_CHECK_TLS_H
#define PINGPONG_AGENT_CHECK_TLS_H

#include "agent/core/config.h"

extern void check_tls(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_TLS_H */
