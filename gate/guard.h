/*
 * guard.h - the ends of the state GATE_GUARDED, in which a primary starts (state.c).
 *
 * What decides is in common/guard.c, who asks in worker/guard.c.
 */
#ifndef PINGPONG_GATE_GUARD_H
#define PINGPONG_GATE_GUARD_H

#include "gate/seal.h"

/* What is waited for, as clients and the view pingpong.gate are told. Without effect unless guarded. */
extern void gate_guard_say(const char *reason);

/* Open; the log tells why. False: it was not guarded. */
extern bool gate_guard_open(const char *why);

/*
 * Another server is the primary: from guarded to a durable seal, then the statements that wait end their sessions.
 * The caller gives epoch, target and why. False: it was not guarded. ERROR: there is no seal on disk, and it is
 * guarded as before.
 */
extern bool gate_guard_seal(const GateSeal *info);

/* Did the guard seal this server? */
extern bool gate_is_replaced(void);

#endif
