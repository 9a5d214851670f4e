/*
 * relaxation.h - settings that a run relaxes, and what each is to be again.
 */
#ifndef PINGPONG_RELAXATION_H
#define PINGPONG_RELAXATION_H

#include "worker/run.h"

typedef struct Relaxation
{
	const char *relax;
	const char *restore;
	const char *setting;
	const char *relaxed;		/* its value meanwhile */
	bool		names;			/* of nodes, which change their parts */
} Relaxation;

/* That which the action makes, or takes back; NULL: it is neither. */
extern const Relaxation *relaxation_of(const char *action);

/* What the setting of the node is to be again, palloc'd; NULL: nothing, or not known. The first: of earlier runs. */
extern char *relaxation_remembered(const char *node, const char *setting);
extern char *relaxation_wanted(Run *run, const Relaxation *r, const char *node);

/* At the end of a run; and, while idle, whether something can be restored now. */
extern void relaxation_save(Run *run);
extern bool relaxation_due(void);

#endif
