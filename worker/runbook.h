/*
 * runbook.h - the steps of a run, from the rows of its runbook.
 */
#ifndef PINGPONG_RUNBOOK_H
#define PINGPONG_RUNBOOK_H

#include "worker/run.h"

/* In the caller's context. ERROR 42704 for an unknown action, 54000 for too many steps. */
extern void runbook_load(Run *run);

#endif
