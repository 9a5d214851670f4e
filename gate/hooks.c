/*
 * hooks.c - where every statement and every commit meets the gate.
 *
 * While the gate is open a hook is one atomic read. While it is closed, a statement that could write and whose
 * transaction has no XID waits (hold) or is refused (read_only). When the server is sealed and its sessions are to
 * end, such a statement ends its session. A transaction that has an XID goes on; the check before commit stops it
 * after the seal. docs/architecture.md, section 2, explains why that leaves no gap.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/objectaccess.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/guc.h"

#include "gate/appliers.h"
#include "gate/hooks.h"
#include "gate/intent.h"
#include "gate/login.h"
#include "gate/refuse.h"
#include "gate/state.h"
#include "pg_compat.h"

#define NAP_MS				50	/* how often a held statement looks for a dead owner */

bool		gate_bypass = false;

static ExecutorStart_hook_type previous_executor_start = NULL;
static ProcessUtility_hook_type previous_process_utility = NULL;
static object_access_hook_type previous_object_access = NULL;

/* This transaction sends notifications, for which PostgreSQL takes an XID late. */
static bool xid_due_at_commit = false;

/* The XID was there before sealing began: the sealer is bound to wait for us. */
static bool commit_is_awaited = false;

/* This backend is counted in gate_shared->held. */
static bool counted_as_held = false;

static inline bool
gate_is_closed(void)
{
	return unlikely(pg_atomic_read_u32(&gate_shared->state) != GATE_OPEN);
}

/* ---- what a statement meets when the gate is closed ---- */

static void
refuse(GateState state)
{
	gate_refuse(state, commit_is_awaited);
}

static void
uncount_held(void)
{
	if (counted_as_held)
		pg_atomic_fetch_sub_u32(&gate_shared->held, 1);
	counted_as_held = false;
}

static uint32
wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = compat_wait_event("PingpongGate");
	return event;
}

/* Wait until the gate is open, or the state needs another decision. */
static void
wait_at_gate(void)
{
	ErrorContextCallback explain = {.previous = error_context_stack, .callback = gate_explain_wait};
	GateState	state;

	pg_atomic_fetch_add_u32(&gate_shared->held, 1);
	counted_as_held = true;
	error_context_stack = &explain;
	PG_TRY();
	{
		ConditionVariablePrepareToSleep(&gate_shared->changed);
		while ((state = gate_state()) != GATE_OPEN && state != GATE_READ_ONLY)
		{
			if (pg_atomic_read_u32(&gate_shared->end_held) != 0)
				gate_end_session();
			CHECK_FOR_INTERRUPTS();
			ConditionVariableTimedSleep(&gate_shared->changed, NAP_MS, wait_event());
		}
		ConditionVariableCancelSleep();
	}
	PG_FINALLY();
	{
		uncount_held();
	}
	PG_END_TRY();
	error_context_stack = explain.previous;
}

/*
 * Processes the gate leaves alone: parallel workers do what their leader was
 * let through for, and autovacuum must not hold its locks while it waits.
 */
static bool
gate_applies(void)
{
	return MyProc != NULL && !IsParallelWorker() && !compat_am_autovacuum() &&
		!RecoveryInProgress();
}

/* Decide for a transaction that has an XID: nothing waits that others wait for. */
static void
pass_as_writer(GateState state, Intent intent)
{
	if (state >= GATE_STOPS_COMMITS && intent == MAY_WRITE)
		refuse(state);
}

/* Decide for a transaction without XID. True: go on; false: wait. */
static bool
pass_without_xid(GateState state, Intent intent)
{
	if (gate_bypass && (state < GATE_STOPS_COMMITS || intent != MAY_WRITE))
		return true;
	if (state == GATE_READ_ONLY)
	{
		if (intent == MAY_WRITE)
			refuse(state);
		if (!gate_is_mine())
			XactReadOnly = true;
		return true;
	}
	if (intent == MAY_READ)
		return true;
	if (gate_is_mine() || gate_bypass || !IsUnderPostmaster)
	{
		/* Waiting for oneself would never end. */
		if (intent == MAY_WRITE)
			refuse(state);
		return true;
	}
	return false;
}

/* The slow path of every hook. */
static void
pass_gate(Intent intent)
{
	if (!gate_applies())
		return;
	for (;;)
	{
		GateState	state = gate_state();

		if (state == GATE_OPEN)
			return;
		if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
		{
			pass_as_writer(state, intent);
			return;
		}
		if (pass_without_xid(state, intent))
			return;
		wait_at_gate();
	}
}

/*
 * For what changes the database outside of its transaction: with an XID the
 * drain sees it, and after sealing has begun it does not start.
 */
static void
take_xid_first(bool outside)
{
	if (!gate_applies() || IsInParallelMode() || IsAbortedTransactionBlockState())
		return;
	(void) GetCurrentTransactionId();
	pg_memory_barrier();
	if (pg_atomic_read_u32(&gate_shared->state) >= GATE_STOPS_COMMITS &&
		gate_state() >= GATE_STOPS_COMMITS)
		refuse(gate_state());
	if (outside)
		commit_is_awaited = true;
}

/* ---- ExecutorStart ---- */

static void
executor_start(QueryDesc *query, int eflags)
{
	if (gate_is_closed() && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		pass_gate(gate_plan_intent(query));
	if (unlikely(gate_read_only_login))
		gate_login_writes_again();

	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* ---- ProcessUtility ---- */

/* Statements that need an XID earlier than PostgreSQL would give them one. */
static void
give_xid(Node *stmt)
{
	gate_empties_at_commit |= gate_makes_table_to_empty(stmt);
	if (IsA(stmt, NotifyStmt))
		xid_due_at_commit = true;
	else if (IsA(stmt, TransactionStmt) &&
			 ((TransactionStmt *) stmt)->kind == TRANS_STMT_PREPARE)
		xid_due_at_commit = true;
	else if (gate_outside_transaction(stmt))
		take_xid_first(true);
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	if (gate_is_closed() && !IsAbortedTransactionBlockState())
		pass_gate(gate_utility_intent(pstmt->utilityStmt));
	if (unlikely(gate_read_only_login) && !IsAbortedTransactionBlockState())
		gate_login_writes_again();
	give_xid(pstmt->utilityStmt);

	if (previous_process_utility)
		previous_process_utility(pstmt, query_string, read_only_tree, context,
								 params, query_env, dest, qc);
	else
		standard_ProcessUtility(pstmt, query_string, read_only_tree, context,
								params, query_env, dest, qc);
}

/* ---- functions ---- */

/* Functions that write where no XID shows it, or only after the commit check. */
static void
function_executes(Oid function)
{
	if (gate_is_closed())
	{
		Intent		intent = gate_function_intent(function);

		if (intent != MAY_READ)
			pass_gate(intent);
	}
	if (unlikely(gate_read_only_login))
		gate_login_writes_again();
	if (function == F_PG_NOTIFY)
		xid_due_at_commit = true;
	else if (function == COMPAT_F_EMIT_MESSAGE_TEXT || function == COMPAT_F_EMIT_MESSAGE_BYTEA)
		take_xid_first(false);
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (access == OAT_FUNCTION_EXECUTE)
		function_executes(object_id);
	if (previous_object_access)
		previous_object_access(access, class_id, object_id, sub_id, arg);
}

/* ---- transactions ---- */

/* Will PostgreSQL take an XID after this check, for what the transaction has still to do? */
static bool
xid_is_due(void)
{
	return xid_due_at_commit ||
		(gate_empties_at_commit && (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0);
}

/*
 * The last check. The XID is taken (under a lock) before the state is read;
 * the sealer sets the state before it looks for XIDs.
 */
static void
check_commit(void)
{
	if (unlikely(xid_is_due()) && gate_applies() && !IsInParallelMode())
		(void) GetCurrentTransactionId();
	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return;
	pg_memory_barrier();
	if (likely(pg_atomic_read_u32(&gate_shared->state) < GATE_STOPS_COMMITS))
		return;
	if (gate_state() < GATE_STOPS_COMMITS || commit_is_awaited)
		return;

	/*
	 * A session that ends drops its temporary tables. They stay, as after a
	 * crash; its client has nothing to hear about that.
	 */
	if (proc_exit_inprogress)
		proc_exit(1);
	refuse(gate_state());
}

static void
forget_transaction(void)
{
	xid_due_at_commit = false;
	commit_is_awaited = false;
	uncount_held();				/* a FATAL while held ends up here */
}

static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (unlikely(MyBgworkerEntry != NULL))
				gate_applier_commits();
			gate_login_commits();
			check_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			gate_note_commit();
			gate_login_ended(true);
			forget_transaction();
			break;
		case XACT_EVENT_ABORT:
			gate_login_ended(false);
			forget_transaction();
			break;
		default:
			break;
	}
}

void
gate_init(void)
{
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(transaction_event, NULL);
}
