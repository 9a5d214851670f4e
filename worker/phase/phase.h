/*
 * phase.h - a phase of a run is a table of functions. The phases do not know each other. runner.c takes the run from
 * one to the next, by the table of transition.c.
 */
#ifndef PINGPONG_PHASE_H
#define PINGPONG_PHASE_H

#include "worker/run.h"

/* Each may be NULL. None waits. An error leaves the phase as it is. */
typedef struct Phase
{
	void		(*enter) (const Rule *rule);
	uint32		(*look) (void); /* what is seen now: facts; takes answers in, too */
	long		(*work) (RunWork work); /* gives the longest nap in ms; 0: look again */
	void		(*leave) (const Rule *rule);	/* the sentence, and what the next phase finds in the run */
} Phase;

extern const Phase phase_gather;
extern const Phase phase_recover;
extern const Phase phase_take_over;
extern const Phase phase_forward;
extern const Phase phase_hand_over;
extern const Phase phase_ask;
extern const Phase phase_undo;
extern const Phase phase_away;

#endif
