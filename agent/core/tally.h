/*
 * tally.h
 *		What this process has done since its start, as counters for metrics.
 */
#ifndef PINGPONG_AGENT_CORE_TALLY_H
#define PINGPONG_AGENT_CORE_TALLY_H

typedef enum TallyItem
{
	TALLY_ANSWERED,				/* requests answered with 2xx */
	TALLY_REFUSED,				/* with 4xx */
	TALLY_FAILED,				/* with 5xx */
	TALLY_JOB_SUCCEEDED,
	TALLY_JOB_FAILED,			/* or cancelled */
	TALLY_ITEMS
} TallyItem;

extern void tally_add(TallyItem item);
extern long tally_get(TallyItem item);

#endif							/* PINGPONG_AGENT_CORE_TALLY_H */
