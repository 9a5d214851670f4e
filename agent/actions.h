/*
 * actions.h
 *		The table of actions.
 */
#ifndef PINGPONG_AGENT_ACTIONS_H
#define PINGPONG_AGENT_ACTIONS_H

#include "agent/job/action.h"

extern const ActionEntry all_actions[];	/* ends with an entry without a name */

#endif							/* PINGPONG_AGENT_ACTIONS_H */
