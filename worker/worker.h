/*
 * worker.h - the background worker.
 */
#ifndef PINGPONG_WORKER_H
#define PINGPONG_WORKER_H

/* From _PG_init, while shared_preload_libraries is processed: settings, registration. */
extern void worker_init(void);

#endif
