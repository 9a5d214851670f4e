/*
 * alerts.h - the idle worker of the primary looks at the rules of alerts.
 */
#ifndef PINGPONG_ALERTS_H
#define PINGPONG_ALERTS_H

/*
 * Looks at the next rule, if one is due: at most one a call, under a time limit. Its errors are an alert and never
 * thrown. Gives the longest nap in ms. Not while a run goes on, or the gate is not open.
 */
extern long alerts_advance(void);

#endif
