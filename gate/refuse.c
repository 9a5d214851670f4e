/*
 * refuse.c - what a client is told when the gate stops it.
 *
 * A client decides by these words whether it may try again. So they say only what this process knows: that the
 * present transaction is not committed, and whether an earlier one of the same message from the client was (a
 * procedure, a DO block or a query string may commit in between).
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "gate/peers.h"
#include "gate/refuse.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "pg_compat.h"

#define OPEN_IT "SELECT pingpong.resume()"
#define GUARD_HINT "See the view pingpong.guard. It opens by itself when the agents answer; if no other server is " \
	"the primary, a superuser opens it: SELECT pingpong.resume(risk => '" GATE_RISK "')."

/* When the message from the client began in which something was committed last. */
static TimestampTz committed_in = 0;

void
gate_note_commit(void)
{
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		committed_in = GetCurrentStatementStartTimestamp();
}

static bool
committed_before(void)
{
	return committed_in != 0 && committed_in == GetCurrentStatementStartTimestamp();
}

/* Of a transaction that is refused; nothing is said of one that may yet be committed in part. */
static const char *
what_was_kept(bool may_commit)
{
	if (may_commit)
		return "";
	if (committed_before())
		return " An earlier part of the statement, or of its query string, was committed; the "
			"present transaction is not.";
	return " Nothing of the present transaction is committed.";
}

static void
refuse_sealed(GateState state, bool may_commit)
{
	GateSeal	seal;
	const char *kept = what_was_kept(may_commit);

	if (!gate_get_seal(&seal))
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write: the write gate is closed"),
				 errdetail("Its state is \"%s\", for \"%s\".%s", gate_state_name(state), gate_shared->reason, kept),
				 errhint("Try again.")));
	if (strcmp(seal.run, SEAL_BY_GUARD) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write: another server has replaced this one as the primary"),
				 errdetail("When this server was started, %s.%s", seal.why, kept),
				 errhint("Connect again to reach the primary, and try again. On the primary, "
						 "pingpong.rebuild('%s') makes this server a standby.", peers_self(NULL))));
	if (seal.target[0])
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write: the primary is moving to another server"),
				 errdetail("This server is sealed by run \"%s\", which moves the primary to node \"%s\".%s",
						   seal.run, seal.target, kept),
				 errhint("Connect again to reach the primary, and try again.")));
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot write: this server is sealed"),
			 errdetail("The seal is of run \"%s\".%s", seal.run, kept),
			 errhint("Connect to the server that is the primary now; a superuser sees more "
					 "in the view pingpong.gate.")));
}

void
gate_refuse(GateState state, bool may_commit)
{
	if (gate_is_mine())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write: this session closed the write gate"),
				 errdetail("The state of the gate is \"%s\".", gate_state_name(state)),
				 errhint("Open it with \"%s\".", OPEN_IT)));
	if (state == GATE_GUARDED)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write: it is not known yet whether another server has replaced this one as the "
						"primary"),
				 errdetail("Since its start: %s.%s", gate_shared->reason, what_was_kept(may_commit)),
				 errhint(GUARD_HINT)));
	if (state >= GATE_SEALING)
		refuse_sealed(state, may_commit);
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("cannot write: the write gate is closed"),
			 errdetail("Process %d (%s) closed it for writes at %s.",
					   gate_shared->owner_pid, gate_shared->owner_name,
					   timestamptz_to_str(gate_shared->since)),
			 errhint("Try again later, or open it with \"%s\".", OPEN_IT)));
}

/* A statement that waits while guarded ends with an error of its own, a time-out or a cancel: it says what for. */
void
gate_explain_wait(void *arg)
{
	if (gate_raw_state() != GATE_GUARDED)
		return;
	errcontext("waiting at the write gate, as this server asks since its start whether another one has replaced it "
			   "as the primary: %s", gate_shared->reason);
	errhint(GUARD_HINT);
}

static void
end_session_of_replaced(const GateSeal *seal)
{
	const char *kept = committed_before() ?
		"An earlier part of the statement, or of its query string, was committed; the part that waited was not "
		"done." :
		"Nothing of the waiting statement was done.";

	ereport(FATAL,
			(errcode(ERRCODE_ADMIN_SHUTDOWN),
			 errmsg("terminating connection: another server has replaced this one as the primary"),
			 errdetail("When this server was started, %s. %s", seal->why, kept),
			 errhint("Reconnect to reach the new primary. There, pingpong.rebuild('%s') makes this server a standby.",
					 peers_self(NULL))));
}

void
gate_end_session(void)
{
	GateSeal	seal;

	if (gate_get_seal(&seal) && strcmp(seal.run, SEAL_BY_GUARD) == 0)
		end_session_of_replaced(&seal);
	ereport(FATAL,
			(errcode(ERRCODE_ADMIN_SHUTDOWN),
			 errmsg("terminating connection: the primary has moved"),
			 committed_before() ?
			 errdetail("An earlier part of the statement, or of its query string, was committed; the part "
					   "that waited was not done.") :
			 errdetail("Nothing of the waiting statement was done."),
			 errhint("Reconnect to reach the new primary.")));
}
