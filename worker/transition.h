/*
 * transition.h - which phase of a run is next? The decisions of the runner as one table: facts in, rule out.
 *
 * It is pure and free of server headers. A phase tells what it sees as facts. The first rule of the phase that fits
 * them decides. Nothing else changes a phase (runner.c), except an error.
 */
#ifndef PINGPONG_TRANSITION_H
#define PINGPONG_TRANSITION_H

#include <stddef.h>
#include <stdint.h>

typedef enum RunPhase
{
	RUN_GATHERING,				/* the agents are asked for facts; there is no run yet */
	RUN_RECOVERING,				/* is there a run that a predecessor left? */
	RUN_TAKING_OVER,			/* the target asks its agent how it was promoted */
	RUN_FORWARD,				/* group by group */
	RUN_HANDING_OVER,			/* the old primary's part is over, its last note is on its way */
	RUN_ASKING,					/* promote was ordered, the answer is missing */
	RUN_UNDOING,				/* the way back */
	RUN_AWAY,					/* an agent has a job in which the database may go, and this worker with it */
	/* the ends; after them there is no run here */
	RUN_NONE,					/* there was none */
	RUN_DROPPED,				/* no session waits for it any more, and nothing was begun */
	RUN_TOLD,					/* only the facts were wanted */
	RUN_REFUSED,				/* by preflight */
	RUN_HANDED_OVER,
	RUN_SUCCEEDED,
	RUN_ROLLED_BACK,
	RUN_STUCK,					/* an operator has to do something */
	/* stuck, on a sealed server that the primary has moved on from: nothing can be stored */
	RUN_LEFT_BEHIND
} RunPhase;

#define RUN_PHASES		(RUN_LEFT_BEHIND + 1)
#define RUN_ENDS		RUN_NONE	/* from here on there is no run */

/* What can be seen. Which phase looks at which: transition_facts(). */
typedef enum Fact
{
	FACT_MOVES = 1 << 0,		/* the runbook moves the primary */
	FACT_TARGET = 1 << 1,		/* this worker is the target's */
	FACT_SOURCE = 1 << 2,		/* it is that of the server that began the run */
	FACT_FOUND = 1 << 3,		/* a run that has not ended is in the journal */
	FACT_SEALED = 1 << 4,		/* this server is sealed, by this run */
	FACT_OVERRULED = 1 << 5,	/* it was sealed by this run, and an operator has removed the seal */
	FACT_ORDERED = 1 << 6,		/* the order to promote may be out */
	FACT_UNANSWERED = 1 << 7,	/* the order has no answer, and its time is over */
	FACT_MOVED = 1 << 8,		/* the promotion is confirmed */
	FACT_CANCELLED = 1 << 9,	/* by the caller, or by pingpong.cancel() */
	FACT_LATE = 1 << 10,		/* the permitted blackout is over */
	FACT_FAILED = 1 << 11,		/* a step failed whose failure is to be undone */
	FACT_LASTING = 1 << 12,		/* a step failed, and no undo puts back what it may have changed */
	FACT_BROKEN = 1 << 13,		/* a step failed without which clients are not served, or a node is no standby */
	FACT_LEFT = 1 << 14,		/* steps of this worker are not done */
	FACT_RUNNING = 1 << 15,		/* one of them has begun */
	FACT_WAITING = 1 << 16,		/* answers or undos are outstanding */
	FACT_ONLY_ASKED = 1 << 17,	/* facts were wanted, no run */
	FACT_REFUSED = 1 << 18,		/* preflight found what stands against the run */
	FACT_PROMOTED = 1 << 19,	/* the target was promoted by this run, says its agent */
	FACT_BURNED = 1 << 20,		/* it was not and will not be, says the memory that armed the token */
	FACT_NEWER = 1 << 21,		/* that agent has proof of a newer epoch */
	FACT_FOLLOWS = 1 << 22,		/* the target follows this server, after the token's time to live */
	FACT_NOT_OURS = 1 << 23,	/* this server was promoted, and not by this run */
	FACT_UNHEARD = 1 << 24,		/* no answer for too long */
	FACT_OPENED = 1 << 25,		/* the target was promoted, and this server takes writes */
	FACT_OWN = 1 << 26,			/* a run that workers begin by themselves */
	FACT_AWAY = 1 << 27,		/* a job was ordered in which the database may go */
	/* it seals this server and stays here, and the server is not sealed by it; or it pointed routes back */
	FACT_BROKEN_OFF = 1 << 28,
	FACT_STANDBY = 1 << 29		/* a failover, in the hands of the worker that began it on a standby */
} Fact;

#define FACTS			30

/* What to do when the phase stays. */
typedef enum RunWork
{
	WORK_WAIT,
	WORK_STEPS,					/* move the steps of the present group */
	WORK_GIVE_UP,				/* that, and tell the agents to end */
	WORK_SKIP,					/* leave out what was not begun */
	WORK_FETCH					/* fetch the old primary's measurement */
} RunWork;

typedef enum RunReason
{
	REASON_WAIT, REASON_NOBODY_WAITS, REASON_ONLY_ASKED, REASON_PREFLIGHT, REASON_BEGIN,
	REASON_NO_RUN, REASON_TARGET, REASON_OTHER_PRIMARY, REASON_RESUME, REASON_SEALED, REASON_RESTARTED,
	REASON_PROMOTED, REASON_NOT_OURS, REASON_UNHEARD, REASON_CANCELLED,
	REASON_OVERRULED, REASON_UNANSWERED, REASON_FAILED, REASON_LATE, REASON_BROKEN, REASON_DONE,
	REASON_NEWER, REASON_BURNED, REASON_FOLLOWS, REASON_OPENED, REASON_UNDONE, REASON_AWAY, REASON_BACK,
	REASON_STANDBY
} RunReason;

typedef struct Rule
{
	RunPhase	phase;
	uint32_t	yes;			/* facts that must be */
	uint32_t	no;				/* facts that must not be */
	RunPhase	next;
	RunWork		work;			/* if the phase stays */
	RunReason	reason;
	const char *why;			/* for the log and for the reviewer */
} Rule;

/* The rule for what is seen in a phase; never NULL for a phase that is no end. */
extern const Rule *transition(RunPhase phase, uint32_t facts);

/*
 * For those who print or test the table: all rules, up to one whose `why` is NULL; the facts that a phase looks at.
 */
extern const Rule transition_rules[];
extern uint32_t transition_facts(RunPhase phase);
extern const char *transition_phase_name(RunPhase phase);
extern const char *transition_fact_name(int bit);
extern const char *transition_work_name(RunWork work);

#endif
