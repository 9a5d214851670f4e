/*
 * postgres.h
 *		--check: the servers, their programs, and whether this user may stop them.
 */
#ifndef PINGPONG_AGENT_CHECK_POSTGRES_H
#define PINGPONG_AGENT_CHECK_POSTGRES_H

#include "agent/core/config.h"

/* Each instance; where there are several, each line names the section that it is about. */
extern void check_postgres(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_POSTGRES_H */
