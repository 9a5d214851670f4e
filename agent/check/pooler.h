/*
 * pooler.h
 *		--check: a PgBouncer: its console, its file, a client's way through it.
 */
#ifndef PINGPONG_AGENT_CHECK_POOLER_H
#define PINGPONG_AGENT_CHECK_POOLER_H

#include "agent/core/config.h"

extern void check_bouncer(const BouncerConfig *bouncer);

#endif							/* PINGPONG_AGENT_CHECK_POOLER_H */
