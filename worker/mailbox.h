/*
 * mailbox.h - the worker's end of the mailbox.
 */
#ifndef PINGPONG_MAILBOX_H
#define PINGPONG_MAILBOX_H

#include "worker/shared.h"

/* The worker begins; its before_shmem_exit callback. */
extern void mailbox_attach(void);
extern void mailbox_detach(int code, Datum arg);

/* Whether the extension is there, so that requests are taken. */
extern void mailbox_ready(bool ready);

/*
 * Takes a request that is not being worked on yet; buffers of PP_NAME_LEN, PP_OPTIONS_LEN, NAMEDATALEN. False: there
 * is none.
 */
extern bool mailbox_take(RequestKind *kind, char *target, char *options, char *requested_by);

/* What is wanted of the present request or run: by the caller, by a superuser, by pingpong.cancel(). */
extern bool mailbox_cancelled(void);
extern bool mailbox_of_superuser(void);
extern bool mailbox_cancel_wanted(int64 run);

/*
 * A run begins whose number may be that of an earlier one, which has left no row: what was wanted of that does not
 * count.
 */
extern void mailbox_forget_cancel(int64 run);

/*
 * The answer, once a request. `over`: nothing goes on behind it, and the one who has it may ask for the next thing at
 * once. Else mailbox_finish() says so later.
 */
extern void mailbox_answer(const Outcome *outcome, const Failure *failure, bool over);
extern void mailbox_finish(void);

/* Something that the asking backend shows as a NOTICE; cut to 255 bytes. */
extern void mailbox_event(const char *fmt,...) pg_attribute_printf(1, 2);

/* The same, with a hint: cut to 159 bytes. */
extern void mailbox_event_hint(const char *text, const char *fmt,...) pg_attribute_printf(2, 3);

/* Whether a promotion was announced for soon (pingpong_internal.wake). */
extern bool mailbox_awake(void);

/* The backend that waits for the present request; 0: none. */
extern pid_t mailbox_asker(void);

#endif
