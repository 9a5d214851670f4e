/*
 * settings.h
 *		pg.setting: settings of the local server, changed during a run and restored.
 */
#ifndef PINGPONG_AGENT_ACTION_SETTINGS_H
#define PINGPONG_AGENT_ACTION_SETTINGS_H

#include "agent/job/action.h"

extern int	action_pg_setting(ActionContext *ctx, json_t *params, json_t *result);

/*
 * Puts back all that are remembered and still ours; what a person has set since stays, and is forgotten;
 * what cannot be put back is logged, and stays remembered
 */
extern void settings_put_back(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_ACTION_SETTINGS_H */
