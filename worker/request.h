/*
 * request.h - the asking backend's end of the mailbox.
 */
#ifndef PINGPONG_WORKER_REQUEST_H
#define PINGPONG_WORKER_REQUEST_H

#include "worker/shared.h"

/* A request of ours, while we wait for its answer. */
typedef struct Request
{
	uint64		number;
	bool		only_asks;		/* changes nothing: dropped when we leave */
	int64		last_run;		/* when it was posted: the number of its own run is another one */
	int64		cancelled;		/* gate_clock() when we were told to give up; 0: not */
} Request;

/* Can it be asked for on a standby, and only there? */
extern bool request_is_of_standby(const char *kind);

/*
 * Puts the request, and wakes the worker. ERROR 55006 if another one is being worked on, 22001 if a text is too long.
 */
extern void request_post(Request *request, const char *kind, const char *target, const char *options);

/* Clean-up callback: we leave without the answer. Its argument is the Request. */
extern void request_withdraw(int code, Datum arg);

/* Position in the ring of events: what comes after it is shown by request_wait(). */
extern uint64 request_events(void);

/*
 * Waits for the answer, shows events as NOTICEs. The first Ctrl-C is the wish to roll back, the second one leaves
 * (ERROR 57014). False: the worker died and has not answered.
 */
extern bool request_wait(Request *request, uint64 seen, Outcome *outcome, Failure *failure);

/* pingpong.cancel(): false if the worker does not work on that run, or cannot give it up any more (`ordered`). */
extern bool request_cancel(int64 run, bool *ordered);

#endif
