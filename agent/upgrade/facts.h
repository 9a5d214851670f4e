/*
 * facts.h
 *		The action "facts", with what preflight wants to know before an upgrade.
 */
#ifndef PINGPONG_AGENT_UPGRADE_FACTS_H
#define PINGPONG_AGENT_UPGRADE_FACTS_H

#include "agent/job/action.h"

/* action_facts(), and "artefact" (artefact.h); with params "upgrade" ({"to_version", "mode"}) also "upgrade". */
extern int	action_upgrade_facts(ActionContext *ctx, json_t *params, json_t *result);

#endif							/* PINGPONG_AGENT_UPGRADE_FACTS_H */
