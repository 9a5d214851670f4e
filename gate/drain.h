/*
 * drain.h - which processes still write, and the sessions of clients: finding them, and telling them to end.
 */
#ifndef PINGPONG_GATE_DRAIN_H
#define PINGPONG_GATE_DRAIN_H

/* The process that the drain waits for. */
typedef struct GateHolder
{
	int			pid;
	TransactionId xid;
	char		state[32];		/* as in pg_stat_activity */
	char		application[NAMEDATALEN];
} GateHolder;

typedef enum DrainHow
{
	DRAIN_LOOK,
	DRAIN_CANCEL
} DrainHow;

/*
 * One look, without waiting, at the processes that hold an XID and at logical
 * replication workers (which are told to end); returns their number. `first`
 * (may be NULL; costs a copy of the activity array) gets the facts of one of
 * them. DRAIN_CANCEL also cancels the active and ends the idle, and moves
 * GATE_HOLD to GATE_SEALING first, so that an idle session that is ended
 * cannot be in the middle of its COMMIT; gate_back_to_hold() undoes that.
 */
extern int	gate_drain(DrainHow how, GateHolder *first);

/*
 * End client sessions with SIGTERM (not walsenders, background workers, agents
 * or except_pid); idle_only spares those that run a statement. Returns how many
 * client sessions there still are, the ones just told to end included.
 */
extern int	gate_end_sessions(bool idle_only, int except_pid);

/* How many client sessions there are. */
extern int	gate_client_sessions(void);

#endif
