/*
 * facts.h - what an agent tells of its host (the action "facts"): asked for, and stored in pingpong.node_fact.
 */
#ifndef PINGPONG_WORKER_FACTS_H
#define PINGPONG_WORKER_FACTS_H

#include "worker/run.h"

/*
 * Asks the agent of a node, with a key that no other question has; takes over `params`. Of the run only its nodes and
 * its epoch are used; its key becomes that of such questions. NULL if there is no such node.
 */
extern AgentCall *facts_ask(Run *run, const char *node, json_t *params, int limit_ms);

/*
 * Stores what a call that is done has brought, facts or why there are none. Call it at once: the agent's clock is
 * compared with that moment.
 */
extern void facts_store(const char *node, AgentCall *call);

#endif
