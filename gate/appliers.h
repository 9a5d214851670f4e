/*
 * appliers.h - logical replication workers, which meet no hook.
 */
#ifndef PINGPONG_GATE_APPLIERS_H
#define PINGPONG_GATE_APPLIERS_H

/*
 * Registers the calling process if it is one; FATAL if the gate is closed
 * then. To be called before each commit or prepare of a background worker.
 */
extern void gate_applier_commits(void);

/* The pid of one that is registered, 0 if there is none; *n: how many. */
extern int	gate_appliers(int *n);

/* SIGTERM for all of them. */
extern void gate_end_appliers(void);

#endif
