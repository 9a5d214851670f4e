/*
 * memory.c
 *		What an arbiter knows of a cluster, and how it may change.
 */
#include <stdio.h>
#include <string.h>

#include "agent/arbiter/memory.h"

static bool
is_of(const char *present, const char *run)
{
	return strcmp(present, run) == 0;
}

static bool
claimed_by_other(const ArbiterMemory *memory, const char *run, char *why, size_t why_size)
{
	bool		other = memory->claimed > memory->epoch && !is_of(memory->claimed_by, run);

	if (other)
		snprintf(why, why_size, "another failover has made its claim there");
	return other;
}

static bool
is_past(const ArbiterMemory *memory, const char *run, int64_t epoch, char *why, size_t why_size)
{
	bool		past = memory->epoch > epoch || (memory->epoch == epoch && !is_of(memory->run, run));

	if (past)
		snprintf(why, why_size, "it knows epoch %lld already: a run has moved the primary since",
				 (long long) memory->epoch);
	return past;
}

bool
memory_claim(ArbiterMemory *memory, const char *run, int64_t epoch, char *why, size_t why_size)
{
	if (claimed_by_other(memory, run, why, why_size) || is_past(memory, run, epoch, why, why_size))
		return false;
	memory->claimed = epoch;
	snprintf(memory->claimed_by, sizeof(memory->claimed_by), "%s", run);
	return true;
}

bool
memory_release(ArbiterMemory *memory, const char *run, int64_t epoch, char *why, size_t why_size)
{
	(void) epoch;
	(void) why;
	(void) why_size;
	if (!is_of(memory->claimed_by, run))
		return true;
	memory->claimed = 0;
	memory->claimed_by[0] = '\0';
	return true;
}

bool
memory_raise(ArbiterMemory *memory, const char *run, int64_t epoch, char *why, size_t why_size)
{
	if (claimed_by_other(memory, run, why, why_size) || is_past(memory, run, epoch, why, why_size))
		return false;
	if (memory->epoch == epoch)
		return true;
	memory->before = memory->epoch;
	memcpy(memory->run_before, memory->run, sizeof(memory->run));
	memory->epoch = epoch;
	snprintf(memory->run, sizeof(memory->run), "%s", run);
	return true;
}

bool
memory_lower(ArbiterMemory *memory, const char *run, int64_t epoch, char *why, size_t why_size)
{
	(void) epoch;
	(void) why;
	(void) why_size;
	if (memory->epoch == 0 || !is_of(memory->run, run))
		return true;
	memory->epoch = memory->before;
	memcpy(memory->run, memory->run_before, sizeof(memory->run));
	memory->before = 0;
	memory->run_before[0] = '\0';
	return true;
}
