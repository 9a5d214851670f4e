/*
 * alerts.h
 *		--check: the receiver of alerts.
 */
#ifndef PINGPONG_AGENT_CHECK_ALERTS_H
#define PINGPONG_AGENT_CHECK_ALERTS_H

#include "agent/core/config.h"

/* Nothing is sent: a receiver takes every message for an alert. */
extern void check_alerts(const AgentConfig *config);

#endif							/* PINGPONG_AGENT_CHECK_ALERTS_H */
