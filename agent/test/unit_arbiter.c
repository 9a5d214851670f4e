/*
 * unit_arbiter.c
 *		What an arbiter grants: claims one at a time, epochs upwards, and the way back of what promoted nobody.
 */
#include <string.h>

#include "agent/arbiter/memory.h"
#include "agent/test/unit.h"

static bool
granted(ArbiterRule *rule, ArbiterMemory *memory, const char *run, int64_t epoch)
{
	char		why[256] = "";
	ArbiterMemory before = *memory;
	bool		fine = rule(memory, run, epoch, why, sizeof(why));

	ok(fine || why[0], "arbiter: a refusal has a reason");
	ok(fine || memcmp(&before, memory, sizeof(before)) == 0, "arbiter: and changes nothing");
	return fine;
}

static void
test_claims(void)
{
	ArbiterMemory memory = {.epoch = 3, .run = "old"};

	ok(!granted(memory_claim, &memory, "a", 3), "arbiter: no claim of an epoch that was used");
	ok(!granted(memory_claim, &memory, "a", 2), "arbiter: nor of an older one");
	ok(granted(memory_claim, &memory, "a", 4), "arbiter: a claim");
	ok(granted(memory_claim, &memory, "a", 4), "arbiter: the same once more");
	ok(!granted(memory_claim, &memory, "b", 9), "arbiter: another one is refused, whatever its epoch");
	ok(!granted(memory_raise, &memory, "b", 9), "arbiter: and promotes nobody");
	ok(granted(memory_release, &memory, "b", 9) && memory.claimed == 4, "arbiter: nor does it take the claim away");
	ok(granted(memory_release, &memory, "a", 4) && memory.claimed == 0, "arbiter: the claim is given back");
	ok(granted(memory_claim, &memory, "b", 9), "arbiter: then there is another one");
}

static void
test_epochs(void)
{
	ArbiterMemory memory = {0};

	ok(granted(memory_raise, &memory, "a", 1) && memory.epoch == 1, "arbiter: the first epoch");
	ok(granted(memory_raise, &memory, "a", 1), "arbiter: the same once more");
	ok(!granted(memory_raise, &memory, "b", 1), "arbiter: two runs have no epoch in common");
	ok(granted(memory_claim, &memory, "b", 2) && granted(memory_raise, &memory, "b", 2),
	   "arbiter: a claim and its epoch");
	ok(granted(memory_claim, &memory, "c", 3), "arbiter: what was claimed and has happened stands in nobody's way");
	ok(granted(memory_lower, &memory, "a", 1) && memory.epoch == 2, "arbiter: an older run takes nothing back");
	ok(granted(memory_lower, &memory, "b", 2) && memory.epoch == 1 && strcmp(memory.run, "a") == 0,
	   "arbiter: the last one does");
	ok(granted(memory_lower, &memory, "b", 2) && memory.epoch == 1, "arbiter: and once only");
}

void
test_arbiter(void)
{
	test_claims();
	test_epochs();
}
