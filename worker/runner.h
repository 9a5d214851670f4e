/*
 * runner.h - what the files of the state machine share: the run that is being
 * worked on, and its phases.
 *
 *   gather.c   RUN_GATHERING      facts, preflight, then the run is stored
 *   runner.c   RUN_FORWARD        group by group
 *   undo.c     RUN_UNDOING        the way back
 *   verdict.c  RUN_ASKING         promote was ordered, the answer is missing
 *   baton.c    RUN_TAKING_OVER    on the target, after its promotion
 *   recover.c                     which of them a run that was found begins with
 *
 * A phase's function moves as far as it can without waiting and gives the
 * longest nap in ms.
 */
#ifndef PINGPONG_RUNNER_H
#define PINGPONG_RUNNER_H

#include "worker/run.h"

extern MemoryContext run_context;
extern Run *run;				/* NULL: nothing to do */

/* runner.c */
extern Run *run_new(void);
extern void run_publish(void);
extern void run_answer(const char *state);
extern void run_finish(const char *state);
extern void run_forget(void);
extern long run_in_doubt(void);
extern bool run_overruled(void);
extern bool run_cancelled_by_caller(void);
extern void run_give_up(const ErrorData *error);

/* recover.c */
extern void run_opened_behind(void);
extern void recover_failed(const ErrorData *error);

/* steps.c */
extern void step_move(Step *step);
extern void step_failed(Step *step);
extern void step_give_up(Step *step);

/* gather.c */
extern void gather_start(void);
extern long gather_advance(void);

/* undo.c */
extern void undo_start(void);
extern long undo_advance(void);

/* verdict.c */
extern void verdict_burned(void);
extern long verdict_advance(void);

/* baton.c */
extern long baton_advance(void);
extern void baton_take_steps(json_t *timeline);

#endif
