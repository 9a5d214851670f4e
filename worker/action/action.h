/*
 * action.h - the families of actions. Each is one file of this folder, with the table of its actions.
 *
 * A new action is a function and a row in the table of its file. A new family is a file and a word here.
 */
#ifndef PINGPONG_ACTION_H
#define PINGPONG_ACTION_H

#include "worker/run.h"

#define ACTION_FAMILIES(f) \
	f(gate_actions) f(wal_actions) f(verify_actions) f(settings_actions) f(slots_actions) f(route_actions) \
	f(standby_actions) f(failover_actions) f(promote_actions) f(upgrade_actions) f(host_actions)

/* each ends with an action without a name */
#define DECLARE_ACTIONS(table) extern const Action table[];
ACTION_FAMILIES(DECLARE_ACTIONS)

#endif
