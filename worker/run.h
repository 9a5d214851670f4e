/*
 * run.h - a run in the worker's memory: what is to be done, and how far it is.
 *
 * The tables pingpong.run and pingpong.step are the durable form. The worker
 * has at most one run at a time, all of it in the context `run_context`.
 */
#ifndef PINGPONG_RUN_H
#define PINGPONG_RUN_H

#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "portability/instr_time.h"

#include "gate/lag.h"
#include "gate/seal.h"
#include "worker/agents.h"
#include "worker/shared.h"
#include "worker/transition.h"

typedef struct Run Run;
typedef struct Step Step;

typedef enum StepState
{
	STEP_PENDING,
	STEP_RUNNING,
	STEP_SUCCEEDED,
	STEP_FAILED,
	STEP_SKIPPED,
	STEP_UNDONE
} StepState;

typedef enum OnFailure
{
	FAIL_UNDO,
	FAIL_CONTINUE,
	FAIL_RETRY
} OnFailure;

/* What the step is to the run as a whole; column "mark" of the runbook. */
typedef enum StepMark
{
	MARK_NONE,
	MARK_BEGINS_BLACKOUT,
	MARK_NO_RETURN,				/* the promotion */
	MARK_ENDS_BLACKOUT,
	MARK_AWAY					/* the database may go while its job is done */
} StepMark;

/* What the action is, in any runbook. */
typedef enum ActionTrait
{
	ACTION_MAKES_STANDBY = 1 << 0,	/* when it is done its node is a standby of the primary */
	ACTION_LEADS_ROUTE = 1 << 1,	/* when it is done its route points to another server */
	ACTION_UNTIL_DONE = 1 << 2, /* as an undo it has no time limit: the run must not end before */
	ACTION_ONCE = 1 << 3,		/* as an undo it is made once for its node, however many steps it undoes */
	ACTION_SEALS = 1 << 4,		/* it closes this server's journal: a seal of the run says that it was done */
	ACTION_FORWARD_ONLY = 1 << 5,	/* behind it the run cannot be cancelled: nothing undoes it */
	ACTION_OPENS = 1 << 6,		/* it opens the server that a sealed one has become */
	ACTION_SETS_ROUTE = 1 << 7, /* it points a route where the caller wants (the run's option "node") */
	ACTION_ENDS_ALONE = 1 << 8	/* as an undo: what it ends would end by itself, or does no harm */
} ActionTrait;

/* What an action says when it is looked at. */
typedef enum ActionResult
{
	ACTION_WAIT,				/* look again */
	ACTION_DONE,
	ACTION_AGAIN,				/* the job of several steps did not arrive: order it anew */
	ACTION_FAILED				/* step->message says why, step->failure the SQLSTATE */
} ActionResult;

/*
 * An action: `begin` once, then `advance` until it is done or failed. Both
 * return at once. Idempotent: the same step may be begun again by a successor.
 */
typedef struct Action
{
	const char *name;
	ActionResult (*begin) (Run *run, Step *step);
	ActionResult (*advance) (Run *run, Step *step);
	int			traits;			/* ActionTrait */
	const char *orders;			/* what it may order from an agent, separated by blanks; NULL: nothing */
} Action;

struct Step
{
	int			ordinal;
	char		name[32];
	char		node[PP_NAME_LEN];	/* on what: a node, or a route */
	char		undo[32];
	char		job[32];		/* its job of several steps; "": a job of its own */
	char		needs[32];		/* skipped, unless the steps of that action succeeded */
	const Action *action;
	StepMark	mark;
	char		fix[128];		/* the statement that does what the step could not; "": the run can do without it */
	OnFailure	on_failure;
	int			timeout_ms;
	bool		mine;			/* this worker does it */
	StepState	state;
	int			attempt;		/* tries, for pingpong.progress */
	int			round;			/* part of its job's key; stored before the order. Another round is another job */
	TimestampTz started;
	TimestampTz ended;
	instr_time	clock;			/* when it was begun */
	double		ms;
	int64		retry_at;		/* now_us(); 0: not waiting to try again */
	char	   *params;			/* of the runbook row: JSON text */
	char	   *detail;			/* JSON text, or NULL */
	int64		unheard;		/* now_us() since when the agent gives no answer; 0: it does */
	char		message[PP_TEXT_LEN];
	Failure		failure;		/* why its last attempt failed; the run's only where the step ends the run */

	int			phase;			/* an action's own */
	XLogRecPtr	lsn;			/* an action's own */
	instr_time	since;			/* an action's own */

	/* of a job of several steps: the first of them */
	Step	   *leader;
	bool		undone;			/* of a leader: its job failed, and this part was undone with it */

	/* an agent's job */
	AgentCall  *call;
	char		url[256];
	char		key[128];
	int64		post_at;		/* now_us() to ask again; 0: not waiting to */
	bool		posting;		/* the call gives the job, it does not only ask for it */
	bool		sent;			/* the job may have reached the agent */
	bool		given_up;		/* by the operator: the agent is told, and it is not tried again */
	bool		overdue;		/* its time is up: the agent was told to end it, and its last word is awaited */
	bool		untouched;		/* of a rejoin that failed: the agent had not begun to change the node */
	bool		pending;		/* of an endpoint: it was left behind, others serve its route */
	bool		silent;			/* of a failover: its agent did not answer before it began, and is not waited for */
};

typedef struct RunNode
{
	char		name[PP_NAME_LEN];
	char		kind[16];
	char		host[256];
	int			port;
	char		url[256];
	char		slot[PP_NAME_LEN];
	char		upstream[PP_NAME_LEN];
	bool		away;			/* let go on purpose */
} RunNode;

/* One endpoint of a route. */
typedef struct RunRoute
{
	char		name[PP_NAME_LEN];	/* of the endpoint, by which steps know it */
	char		route[PP_NAME_LEN];
	char		kind[4];
	char		driver[32];
	char		router[PP_NAME_LEN];
	char		endpoint[PP_NAME_LEN];
	char	   *databases;		/* JSON text */
	char		node[PP_NAME_LEN];	/* where it points now; "": not known */
	char	   *nodes;			/* of a spread route: all of them, JSON text; NULL: that one only */
	bool		fallback;		/* it may point to the primary (ro) */
	bool		repairs;		/* an endpoint that points elsewhere is pointed back when it can be */
	char	   *smoke;			/* a statement through the route that must give true; NULL: none */
	/* databases whose clients the router can hold, as prepared: JSON text; NULL: not known */
	char	   *held;
	/* ms of its router's clock: when that was told to hold the clients, and when it let them go; 0: not known */
	double		held_ms;
	double		resumed_ms;
} RunRoute;

#define RUNBOOK_UPGRADE "upgrade"	/* it is preflighted, and asks more of the agents */
#define RUNBOOK_FAILOVER "failover" /* it is begun on a standby, by failover() alone */

struct Run
{
	int64		id;
	char		key[PP_NAME_LEN];
	char		runbook[PP_NAME_LEN];
	char		source[PP_NAME_LEN];
	char		target[PP_NAME_LEN];
	int64		epoch;
	char		state[16];
	char		requested_by[NAMEDATALEN];
	json_t	   *options;
	RequestKind request;
	bool		moves;			/* the runbook moves the primary: it has a step promote */
	bool		checked;		/* it begins with a preflight */
	bool		unrecorded;		/* a failover without rows: its journal is a file (baton.c) */
	TimestampTz begun_at;		/* of such a one */
	bool		is_target;		/* this worker has the baton */

	RunPhase	phase;			/* changed by runner.c alone */
	int			ordinal;		/* the group that is being worked on */
	int			nsteps;
	Step	   *steps;
	int			nundo;
	Step	   *undo;			/* what takes back the steps */
	instr_time	undo_began;
	int			nnodes;
	RunNode    *nodes;
	int			nroutes;
	RunRoute   *routes;

	bool		blackout;		/* it has begun and not ended */
	instr_time	blackout_began;
	double		blackout_ms;	/* < 0: not known yet */
	double		elapsed_ms;		/* of the blackout, before blackout_began (after the baton) */
	TimestampTz blackout_at;	/* when it began, by this host's clock (after the baton) */
	bool		noted;			/* asked for the old primary's measurement */
	bool		ordered;		/* promote was sent: only a verdict of the agent may undo it */
	bool		switched;		/* writes flow on the target */
	bool		answered;
	bool		own;			/* the worker's own: no session waits for it */
	bool		asks_none;		/* it needs no facts of agents */
	int64		own_since;		/* now_us() */
	int			errors;			/* that the journal or an action raised */
	XLogRecPtr	seal_lsn;
	char		sentence[PP_TEXT_LEN];
	Failure		failure;		/* what ended it, or is about to: the caller gets it as an error; else empty */
	json_t	   *notes;

	json_t	   *collected;		/* while the actions of one job are put together; borrowed */

	/* gathering, asking for the verdict, taking over */
	AgentCall **calls;			/* one a node */
	AgentCall  *ask;
	int			asks;
	int64		ask_at;			/* now_us() */
	bool		token_asked;	/* takeover.c: `ask` is to the token, not to the job */
	bool		told_waiting;
	char		told[PP_TEXT_LEN];	/* the last reason that was logged */
	int64		unheard;		/* now_us() since when our own agent gives no answer; 0: it does */
	/* now_us() when the token was certainly armed: its time to live has run from then */
	int64		armed_us;
	double		target_trip_ms; /* a round trip to the target's agent; 0: not known */
	bool		replays_there;	/* the order to promote is to wait for the seal LSN: nobody has seen it replayed */
	int			witness;		/* ask.c: how far the second witness has been heard */
	XLogRecPtr	witness_lsn;
};

/* The name under which workers ask for runs of their own. */
#define WORKER_ROLE		"pg_pingpong worker"

/* The state that the old primary shows when its part is over; the run goes on at its target. */
#define STATE_HANDED_OVER	"handed over"

extern MemoryContext run_context;
extern Run *run;				/* NULL: nothing to do */

/* An empty one, in run_context; and letting go of it, so that the next request may come. */
extern Run *run_new(void);
extern void run_forget(void);

/* What pingpong.progress shows; the answer to the caller, once (`over`: see mailbox_answer()). */
extern void run_publish(void);
extern void run_answer(const char *state, bool over);

/* Options of the request; times in ms. */
extern int	run_option_int(Run *run, const char *name, int otherwise);
extern const char *run_option_text(Run *run, const char *name, const char *otherwise);

/* Look-ups; NULL if there is none. */
extern RunNode *run_node(Run *run, const char *name);
extern RunRoute *run_route(Run *run, const char *name);
extern Step *run_promote_step(Run *run);

/* No run waits for the node: it is away already, or this run sets it away. */
extern bool run_node_is_away(Run *run, RunNode *node);

/* Where the target is, as this server's walsender knows it. */
extern bool run_find_target(Run *run, LagStandby *lag);

/* Time to live of the promote token, in ms. */
extern int	run_token_ttl_ms(Run *run);

/* Whether the caller has cancelled it; whether the caller or an operator has. */
extern bool run_cancelled_by_caller(void);
extern bool run_cancelled(void);

/* Is this server sealed by the run? By which seal. */
extern bool run_has_sealed(GateSeal *seal);

/* Is this the server that an upgrade makes? */
extern bool run_is_on_new_server(Run *run);

/* Does it replace a primary that is gone? Then its source has no worker, and takes no part in it. */
extern bool run_is_failover(const Run *run);

/* Facts about the run that every phase sees: moves, target, source, ordered, overruled, cancelled. */
extern uint32 run_facts(void);

/* An operator has removed the seal: the order to promote is not given again. */
extern void run_note_overruled(void);

/* Both may take writes: nothing of the target is undone, and an operator must decide. */
extern void run_note_opened(void);

extern const char *step_state_name(StepState state);
extern StepState step_state_from(const char *name);

/* The first step whose action has the trait, of that node (NULL: any), in that state. NULL: there is none. */
extern Step *run_find_step(Run *run, ActionTrait trait, const char *node, StepState state);

/* Does the run make that node a standby, now or later? */
extern bool run_makes_standby(Run *run, const char *node);

/* Does `undo`, one of run->undo, undo that step? */
extern bool step_is_undone_by(const Step *step, const Step *undo);

/* Its job was ordered, and the database may be gone meanwhile. */
extern bool step_is_away(const Step *step);

/* The key of the job that does the step in its present round. */
extern void step_key(const Step *step, char *to, size_t size);

/* Whether the journal can be written: not while writes are stopped, nor on a server that the run has left. */
extern bool run_may_journal(void);

/* The step failed, and this is why. Whether the run fails with it is not known here. Gives ACTION_FAILED. */
extern ActionResult step_fail(Step *step, const char *sqlstate, const char *fmt,...) pg_attribute_printf(3, 4);

/* What the step left behind for its undo and for the report: a new reference or NULL; and keeping it (borrowed). */
extern json_t *step_detail(Step *step);

/* What the agent said of it, by a word of its own: true, false, or that it said nothing of the kind. */
typedef enum StepSaid
{
	SAID_NOTHING, SAID_NO, SAID_YES
} StepSaid;

extern StepSaid step_said(Step *step, const char *word);
extern void step_keep(Step *step, json_t *detail);

/* Lets go of the step's call. */
extern void step_release(Step *step);

#endif
