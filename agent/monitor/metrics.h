/*
 * metrics.h
 *		The metrics of an agent: of itself, and of its server as pingpong.snapshot() told it. A pure function.
 */
#ifndef PINGPONG_AGENT_MONITOR_METRICS_H
#define PINGPONG_AGENT_MONITOR_METRICS_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/core/nodestate.h"
#include "agent/core/picture.h"
#include "agent/monitor/openmetrics.h"

typedef struct MetricsInput
{
	const char *node;
	NodeState	state;
	const Picture *picture;		/* NULL: none */
	PictureNews news;			/* only a fresh picture says anything of the server */
	double		started_ms;		/* of this process, CLOCK_REALTIME */
	double		cpu_seconds;
	double		memory_bytes;
} MetricsInput;

/* All of them; malloc'd. */
extern char *metrics_text(const MetricsInput *input, bool openmetrics);

#endif							/* PINGPONG_AGENT_MONITOR_METRICS_H */
