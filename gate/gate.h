/*
 * gate.h - the write gate: what the worker and the SQL functions call.
 */
#ifndef PINGPONG_GATE_H
#define PINGPONG_GATE_H

#include "gate/appliers.h"
#include "gate/clock.h"
#include "gate/closing.h"
#include "gate/drain.h"
#include "gate/hooks.h"
#include "gate/seal.h"
#include "gate/sealing.h"
#include "gate/state.h"

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
 * lag.c: where the standby is that streams from this physical slot (may be
 * NULL), or else one with this application_name; false if there is neither.
 * Cheap enough to be called each millisecond.
 */
extern bool lag_standby(const char *name, const char *slot, LagStandby *out);

/*
 * refuse.c: what a client is told. refuse: ERROR 25006; may_commit: the
 * transaction may be committed even so, if it gets over this. end_session:
 * FATAL 57P01 for a statement that waits at the gate. note_commit: to be called
 * when a transaction was committed or prepared.
 */
extern void gate_refuse(GateState state, bool may_commit);
extern void gate_end_session(void);
extern void gate_note_commit(void);

/*
 * login.c: sessions that logged in while sealed. read_only_login: this is one,
 * and read-only by default for that reason. writes_again: undoes that for the
 * present transaction if the gate is open; to be called before each statement
 * of such a session, behind the gate. commits, ended: to be called before each
 * commit and after each transaction.
 */
extern bool gate_read_only_login;
extern void gate_login_writes_again(void);
extern void gate_login_commits(void);
extern void gate_login_ended(bool committed);

#endif
