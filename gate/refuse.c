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

#include "gate/refuse.h"
#include "gate/seal.h"
#include "gate/state.h"
#include "pg_compat.h"

#define OPEN_IT "SELECT pingpong.resume()"

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

void
gate_end_session(void)
{
	ereport(FATAL,
			(errcode(ERRCODE_ADMIN_SHUTDOWN),
			 errmsg("terminating connection: the primary has moved"),
			 committed_before() ?
			 errdetail("An earlier part of the statement, or of its query string, was committed; the part "
					   "that waited was not done.") :
			 errdetail("Nothing of the waiting statement was done."),
			 errhint("Reconnect to reach the new primary.")));
}
