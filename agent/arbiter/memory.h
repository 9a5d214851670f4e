/*
 * memory.h
 *		What an arbiter knows of a cluster, and how it may change: pure functions.
 */
#ifndef PINGPONG_AGENT_ARBITER_MEMORY_H
#define PINGPONG_AGENT_ARBITER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/names.h"

/* The highest epoch for which a promotion was ordered, or is about to be; and the claim of a failover. */
typedef struct ArbiterMemory
{
	int64_t		epoch;			/* 0: none yet */
	char		run[PINGPONG_KEY_MAX + 1];	/* of that epoch */
	int64_t		before;			/* what was there before, for a promotion that is certain not to happen */
	char		run_before[PINGPONG_KEY_MAX + 1];
	int64_t		claimed;		/* 0: none */
	char		claimed_by[PINGPONG_KEY_MAX + 1];
} ArbiterMemory;

/* False, with a sentence: it may not. What it is already needs no change. */
typedef bool ArbiterRule(ArbiterMemory *memory, const char *run, int64_t epoch, char *why, size_t why_size);

extern ArbiterRule memory_claim;	/* a failover, before it promotes */
extern ArbiterRule memory_release;	/* the run's own claim; that of another one stays */
extern ArbiterRule memory_raise;	/* before a promotion is ordered */
extern ArbiterRule memory_lower;	/* it is certain that this run promotes nobody */

#endif							/* PINGPONG_AGENT_ARBITER_MEMORY_H */
