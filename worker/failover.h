/*
 * failover.h - a failover as a request: whom it replaces, whether it may be, and how it begins.
 */
#ifndef PINGPONG_WORKER_FAILOVER_H
#define PINGPONG_WORKER_FAILOVER_H

#include "worker/run.h"

/* The primary that this standby knows of, into run->source. False: none is known. */
extern bool failover_find_source(Run *run);

/*
 * By what the agents have told (sight.c): true, it may be made, and the run has its target, its epoch and what it
 * must know of the old primary. Else run->failure says what stands against it.
 */
extern bool failover_judge(Run *run);

/* The run begins: it is on disk as a file, and its steps are loaded. */
extern void failover_begin(Run *run);

/* Steps at agents that did not answer are not waited for. */
extern void failover_pass_over(Run *run);

#endif
