/*
 * attempt.h
 *		A part that may take its time: a thread of its own, given up at a deadline.
 */
#ifndef PINGPONG_AGENT_FACTS_ATTEMPT_H
#define PINGPONG_AGENT_FACTS_ATTEMPT_H

#include <jansson.h>

#include "agent/core/config.h"

typedef struct Attempt Attempt;
typedef json_t *(*AttemptFunction) (const AgentConfig *config, json_t *params);
extern Attempt *attempt_begin(AttemptFunction function, json_t *params);	/* params may be NULL; copied */
extern json_t *attempt_end(Attempt *attempt, double deadline_ms);	/* NULL: it was given up */

#endif							/* PINGPONG_AGENT_FACTS_ATTEMPT_H */
