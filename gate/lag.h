/*
 * lag.h - how far the standbys are.
 */
#ifndef PINGPONG_GATE_LAG_H
#define PINGPONG_GATE_LAG_H

#include "access/xlogdefs.h"

typedef struct LagStandby
{
	int			pid;			/* of the walsender */
	const char *state;			/* streaming, catchup, ... */
	XLogRecPtr	sent;
	XLogRecPtr	write;
	XLogRecPtr	flush;
	XLogRecPtr	replay;
	bool		by_slot;		/* it holds the slot; else only its name is right */
} LagStandby;

/*
 * Where the standby is that streams from this physical slot (may be NULL), or
 * else one with this application_name; false if there is neither. Cheap enough
 * to be called each millisecond.
 */
extern bool lag_standby(const char *name, const char *slot, LagStandby *out);

#endif
