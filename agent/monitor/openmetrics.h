/*
 * openmetrics.h
 *		Metrics as text: OpenMetrics 1.0, and Prometheus' older format for who asks for that. Pure functions.
 */
#ifndef PINGPONG_AGENT_MONITOR_OPENMETRICS_H
#define PINGPONG_AGENT_MONITOR_OPENMETRICS_H

#include <stdbool.h>

#include "agent/core/text.h"

typedef struct MetricsText
{
	Text		text;
	bool		open;			/* OpenMetrics */
} MetricsText;

typedef enum MetricType
{
	METRIC_GAUGE,
	METRIC_COUNTER				/* its samples have the suffix _total */
} MetricType;

/* A family: before its samples, once.  unit: what its name ends with, or NULL.  The name is without _total. */
extern void metric_family(MetricsText *to, MetricType type, const char *name, const char *unit, const char *help);

/* A sample of the family; labels: name, value, name, value, ..., NULL. A value that is NULL is the empty text. */
extern void metric_sample(MetricsText *to, MetricType type, const char *name, const char *const *labels,
						  double value);

/* The end; the text is the caller's. */
extern char *metric_end(MetricsText *to);

#endif							/* PINGPONG_AGENT_MONITOR_OPENMETRICS_H */
