/*
 * refuse.h - what a client is told when the gate stops it.
 */
#ifndef PINGPONG_GATE_REFUSE_H
#define PINGPONG_GATE_REFUSE_H

#include "gate/state.h"

/* ERROR 25006. may_commit: the transaction may be committed even so, if it gets over this. */
extern void gate_refuse(GateState state, bool may_commit);

/* What resume() wants to hear from whoever opens a gate that only facts may open. */
#define GATE_RISK "two primaries are possible"

/* An ErrorContextCallback for a statement that waits at the gate. */
extern void gate_explain_wait(void *arg);

/* FATAL 57P01, for a statement that waits at the gate. */
extern void gate_end_session(void);

/* To be called when a transaction was committed or prepared. */
extern void gate_note_commit(void);

#endif
