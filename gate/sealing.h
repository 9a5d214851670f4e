/*
 * sealing.h - sealing the gate and lifting the seal: state and file together.
 */
#ifndef PINGPONG_GATE_SEALING_H
#define PINGPONG_GATE_SEALING_H

#include "gate/seal.h"

/* Position after the last WAL record, as XLogFlush and standbys count it. */
extern XLogRecPtr gate_insert_end(void);

/*
 * Seal the gate, without waiting: from GATE_HOLD (by its owner) to
 * GATE_SEALING; false while a process still holds an XID (call again).
 * Otherwise flush, make the seal durable and return true with its LSN. ERROR
 * if the gate has opened by itself in between or the file cannot be written.
 * The caller must have no XID.
 */
extern bool gate_seal_try(const GateSeal *info, XLogRecPtr *lsn);

/*
 * Every statement held at the gate, and every later one while sealed, ends its
 * session with FATAL 57P01. Does nothing unless sealed.
 */
extern void gate_end_held(void);

/*
 * Remove the seal durably, then open; the log tells why. False: it was not
 * sealed. ERROR if the file cannot be removed; then it is sealed as before.
 */
extern bool gate_unseal(const char *why);

/* Remove a seal file that an older timeline left; for the worker, when idle. */
extern void gate_remove_void_seal(void);

#endif
