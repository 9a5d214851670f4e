/*
 * seal.h - the seal, and the file that makes it outlive the server.
 *
 * No locks, no state of the gate. The file is read at start-up (state.c), and
 * written and removed where the state changes with it (sealing.c).
 */
#ifndef PINGPONG_GATE_SEAL_H
#define PINGPONG_GATE_SEAL_H

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

#define GATE_RUN_LEN	64
#define SEAL_WHY_LEN	256
#define SEAL_BY_GUARD	"guard" /* in the place of a run: the guard at boot has sealed it */

/* What a seal says. The caller of gate_seal_try gives epoch, run and target. */
typedef struct GateSeal
{
	uint64		sysid;
	TimeLineID	tli;
	int64		epoch;
	char		run[GATE_RUN_LEN];
	char		target[NAMEDATALEN];
	XLogRecPtr	lsn;			/* nothing a client wrote is beyond it */
	TimestampTz at;
	char		why[SEAL_WHY_LEN];	/* of the guard, and of a fence: who has replaced this server; else "" */
} GateSeal;

typedef enum SealFound
{
	SEAL_NONE,
	SEAL_VALID,
	SEAL_VOID,					/* of an older timeline, or of another system */
	SEAL_BROKEN					/* it cannot be understood; *out is made up for this timeline */
} SealFound;

/* What the file says. Takes no lock; the postmaster may call it before recovery. */
extern SealFound seal_read(GateSeal *out);

/* When this returns the seal survives a crash. ERROR: there is none on disk. */
extern void seal_write(const GateSeal *seal);

/* When this returns it is gone for good, also if there was none; else a report at elevel. */
extern void seal_remove(int elevel);

#endif
