/*
 * params.h
 *		Parameters of an action: the value, or the default; a wrong type counts as missing.
 */
#ifndef PINGPONG_AGENT_JOB_PARAMS_H
#define PINGPONG_AGENT_JOB_PARAMS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

extern const char *param_string(json_t *params, const char *name, const char *otherwise);
extern int64_t param_int(json_t *params, const char *name, int64_t otherwise);
/* Is it one of the strings of the list? Any case: settings and slots have no two names that differ in that only. */
extern bool param_names(json_t *list, const char *name);
extern bool param_bool(json_t *params, const char *name, bool otherwise);

#endif							/* PINGPONG_AGENT_JOB_PARAMS_H */
