/*
 * watcher.h
 *		Reads pingpong.snapshot() of the main instance for metrics and the status page.
 */
#ifndef PINGPONG_AGENT_PG_WATCHER_H
#define PINGPONG_AGENT_PG_WATCHER_H

/* A thread of its own, for good. It looks once a second while somebody asks, and else holds no session. */
extern void watcher_start(void);

#endif							/* PINGPONG_AGENT_PG_WATCHER_H */
