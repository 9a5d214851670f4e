/*
 * tally.c
 *		What this process has done since its start.
 */
#include "agent/core/tally.h"

static _Atomic long items[TALLY_ITEMS];

void
tally_add(TallyItem item)
{
	items[item]++;
}

long
tally_get(TallyItem item)
{
	return items[item];
}
