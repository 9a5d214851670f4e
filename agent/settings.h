/*
 * settings.h
 *		pg.setting, and what a run has changed put back.
 */
#ifndef PINGPONG_AGENT_SETTINGS_H
#define PINGPONG_AGENT_SETTINGS_H

#include "agent/job/action.h"

/*
 * Puts back all that are remembered and still ours; what a person has set since stays, and is forgotten;
 * what cannot be put back is logged, and stays remembered
 */
extern void settings_put_back(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_SETTINGS_H */
