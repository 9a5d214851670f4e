/*
 * job.h - one job at one agent.
 */
#ifndef PINGPONG_WORKER_JOB_H
#define PINGPONG_WORKER_JOB_H

#include "worker/run.h"

/* NULL if there is no such node. */
extern char *job_url(Run *run, const char *node);

/*
 * Answers of questions to all nodes (run->calls) that have come since: each is handed over once, and released. True
 * while some are outstanding.
 */
extern bool job_take_answers(Run *run, void (*take) (const char *node, AgentCall *call));

/* Orders one action from the agent of `node`, without a step; takes over `params`. NULL if there is no such node. */
extern AgentCall *job_post(Run *run, const char *node, const char *key, const char *action, json_t *params,
						   int wait_ms, int timeout_ms);

/* The same for a list of actions, as one job (takes it over). */
extern ActionResult job_order(Run *run, Step *step, const char *node, json_t *actions);

/*
 * What undoes the action that was begun last in a job of several steps (takes over `params` and `take`, see
 * protocol.h).
 */
extern void job_undo(Run *run, const char *action, json_t *params, json_t *take);

/* Why a call gave no usable answer, in one line; good until the next call of it. */
extern const char *call_problem(AgentCall *call);

/* Gives the job to the agent of `node` (takes over `params`); what every job's action does while it waits. */
extern ActionResult job_begin(Run *run, Step *step, const char *node, const char *action, json_t *params);
extern ActionResult job_advance(Run *run, Step *step);

/* A job that a predecessor has ordered: it is asked for, and not ordered again. */
extern void job_resume(Run *run, Step *step);

/* The agent is told to end the job; its end is then seen as that of any other. */
extern void job_cancel(Run *run, Step *step);

#endif
