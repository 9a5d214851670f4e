/*
 * facts.h
 *		What preflight wants to know, one function a part.
 *
 * A part never fails: where it could not look, its object has a member "error", and
 * preflight turns that into a warning.  Lists stand in "rows", so that an empty list
 * and a list that nobody could read look different.
 */
#ifndef PINGPONG_AGENT_FACTS_H
#define PINGPONG_AGENT_FACTS_H

#include "agent/job/action.h"

/* facts_host.c */
extern json_t *facts_host(void);	/* names, clock, memory */
extern json_t *facts_disks(const PgConfig *pg);
extern json_t *facts_ha_managers(void);
extern json_t *facts_service(const AgentConfig *config);

/* facts_postgres.c */
extern json_t *facts_postgres(const AgentConfig *config);

/* facts_pooler.c */
extern json_t *facts_routers(const AgentConfig *config);

/* facts_network.c */
extern json_t *facts_connection(const AgentConfig *config, json_t *wanted); /* one, tried for real */

/* facts_restore.c */
extern json_t *facts_restore(const AgentConfig *config, json_t *params);

/* facts_attempt.c: a part that may take its time */
typedef struct Attempt Attempt;
typedef json_t *(*AttemptFunction) (const AgentConfig *config, json_t *params);
extern Attempt *attempt_begin(AttemptFunction function, json_t *params);	/* params may be NULL; copied */
extern json_t *attempt_end(Attempt *attempt, double deadline_ms);	/* NULL: it was given up */

/* facts.c: {"error": ...} */
extern json_t *facts_error(const char *format,...) __attribute__((format(printf, 1, 2)));

#endif							/* PINGPONG_AGENT_FACTS_H */
