/*
 * closing.h - closing the gate, and opening what is not sealed.
 */
#ifndef PINGPONG_GATE_CLOSING_H
#define PINGPONG_GATE_CLOSING_H

#include "gate/state.h"

/* pingpong.hold_timeout in ms: for gate_close, from a caller that knows no other limit. */
extern int	gate_hold_timeout;

/*
 * Close the gate (GATE_HOLD or GATE_READ_ONLY), for limit_ms at most; the
 * calling process becomes the owner. ERROR 55006 if another one has closed it.
 */
extern void gate_close(GateState mode, int64 limit_ms, const char *reason);

/*
 * Open the gate from any state but sealed and guarded, whoever closed it, and let the held
 * statements go on. False: it was one of these, or open already.
 */
extern bool gate_open(void);

/*
 * From GATE_HOLD, if it is the caller's, to GATE_SEALING: from then on no
 * transaction with an XID commits. Without effect in any other state, but that
 * a gate that no longer counts as closed is opened.
 */
extern void gate_stop_commits(void);

/* Undo that, once nobody holds an XID. Without effect unless it is the caller's GATE_SEALING. */
extern void gate_back_to_hold(void);

#endif
