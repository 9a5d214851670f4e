/*
 * postgres.h
 *		--check: the server, its programs, and who may stop it.
 */
#ifndef PINGPONG_AGENT_CHECK_POSTGRES_H
#define PINGPONG_AGENT_CHECK_POSTGRES_H

#include "agent/core/config.h"

extern void check_postgres(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_POSTGRES_H */
