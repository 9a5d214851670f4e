/*
 * arbiter.h
 *		--check: the arbiter.
 */
#ifndef PINGPONG_AGENT_CHECK_ARBITER_H
#define PINGPONG_AGENT_CHECK_ARBITER_H

#include "agent/core/config.h"

/* Reads what is stored; changes nothing. */
extern void check_arbiter(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_ARBITER_H */
