/*
 * monitor.h
 *		What people and programs look at: metrics, the snapshot, the status page. Answered from memory.
 */
#ifndef PINGPONG_AGENT_HTTP_MONITOR_H
#define PINGPONG_AGENT_HTTP_MONITOR_H

#include "agent/http/answer.h"

extern void monitor_page(Answer *answer);

/* accept: the formats that the client takes; NULL: any. */
extern void monitor_metrics(const char *accept, Answer *answer);

/* {"agent": ..., "news": ..., "snapshot": ... or null} */
extern void monitor_snapshot(Answer *answer);

#endif							/* PINGPONG_AGENT_HTTP_MONITOR_H */
