/*
 * restore.h - what the idle worker does by itself.
 */
#ifndef PINGPONG_RESTORE_H
#define PINGPONG_RESTORE_H

/* Begins a run when there is something to restore. */
extern void restore_if_due(void);

#endif
