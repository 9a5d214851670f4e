/*
 * attempt.h
 *		A part that may take long: a thread of its own, given up at a deadline.
 */
#ifndef PINGPONG_AGENT_FACTS_ATTEMPT_H
#define PINGPONG_AGENT_FACTS_ATTEMPT_H

#include <jansson.h>

#include "agent/core/config.h"

typedef struct Attempt Attempt;
typedef json_t *(*AttemptFunction) (const PgInstance *pg, json_t *params);

/* pg: one of this configuration, or NULL, which is what the function gets, too. params may be NULL; copied. */
extern Attempt *attempt_begin(AttemptFunction function, const AgentConfig *config, const PgInstance *pg,
							  json_t *params);
extern json_t *attempt_end(Attempt *attempt, double deadline_ms);	/* NULL: it was given up */

#endif							/* PINGPONG_AGENT_FACTS_ATTEMPT_H */
