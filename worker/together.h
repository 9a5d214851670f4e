/*
 * together.h
 *		Several steps as one job of an agent: neighbouring rows of a runbook with the same name in the column "job".
 *
 * The first of them leads: it begins when its turn has come, gives the whole list to the
 * agent, and ends when the job has ended. The others get their states from the answers.
 */
#ifndef PINGPONG_TOGETHER_H
#define PINGPONG_TOGETHER_H

#include "worker/run.h"

/*
 * Finds the steps of each job. ERROR 22023: they are no neighbours, or of different workers; 0A000: one of them is
 * not done by an agent alone.
 */
extern void together_bind(Run *run);

/* Orders the job of a leader. */
extern ActionResult together_begin(Run *run, Step *leader);

/* What the last answer says of each step; `result`: of the job as a whole. Gives that of the leader's own part. */
extern ActionResult together_look(Run *run, Step *leader, ActionResult result);

#endif
