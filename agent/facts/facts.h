/*
 * facts.h
 *		The action "facts": what preflight wants to know of this host, its PostgreSQL and its poolers.
 */
#ifndef PINGPONG_AGENT_FACTS_FACTS_H
#define PINGPONG_AGENT_FACTS_FACTS_H

#include "agent/job/action.h"

extern int	action_facts(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_FACTS_FACTS_H */
