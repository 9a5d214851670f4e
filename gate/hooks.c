/*
 * hooks.c - where every statement, and every commit, meets the gate.
 *
 * Open, a hook is one atomic read. Closed, a statement that could write and
 * whose transaction has no XID waits (hold), is refused (read_only), or, once
 * the server is sealed and on its way out, ends its session. A transaction
 * that has an XID goes on; the check before commit is what stops it after the
 * seal. See docs/architecture.md, section 2, for why that leaves no gap.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parsetree.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "gate/gate.h"
#include "pg_compat.h"

#define NAP_MS				50	/* how often a held statement looks for a dead owner */
#define OUR_SCHEMA			"pingpong"

/* What a statement may do, as far as a hook can tell. */
typedef enum Intent
{
	MAY_READ,
	MAY_CALL,					/* a volatile function, which may write */
	MAY_WRITE
} Intent;

static ExecutorStart_hook_type previous_executor_start = NULL;
static ProcessUtility_hook_type previous_process_utility = NULL;
static object_access_hook_type previous_object_access = NULL;

/* This transaction sends notifications, for which PostgreSQL takes an XID late. */
static bool xid_due_at_commit = false;

/* This session has a temporary table that is emptied at each commit, for which PostgreSQL takes an XID late. */
static bool empties_at_commit = false;

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
	GateState	state;

	pg_atomic_fetch_add_u32(&gate_shared->held, 1);
	counted_as_held = true;
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
	if (state >= GATE_SEALING && intent == MAY_WRITE)
		refuse(state);
}

/* Decide for a transaction without XID. True: go on; false: wait. */
static bool
pass_without_xid(GateState state, Intent intent)
{
	if (gate_bypass && (state < GATE_SEALING || intent != MAY_WRITE))
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
	if (pg_atomic_read_u32(&gate_shared->state) >= GATE_SEALING &&
		gate_state() >= GATE_SEALING)
		refuse(gate_state());
	if (outside)
		commit_is_awaited = true;
}

/* ---- ExecutorStart ---- */

static bool
only_temporary(const PlannedStmt *plan)
{
	ListCell   *lc;

	if (plan->resultRelations == NIL)
		return false;
	foreach(lc, plan->resultRelations)
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), plan->rtable);

		if (!isTempNamespace(get_rel_namespace(rte->relid)))
			return false;
	}
	return true;
}

static bool
locks_rows(const PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, plan->rowMarks)
	{
		if (RowMarkRequiresRowShareLock(lfirst_node(PlanRowMark, lc)->markType))
			return true;
	}
	return false;
}

/* Does it read a temporary table in a session that empties one at each commit? */
static bool
empties_afterwards(const PlannedStmt *plan)
{
	ListCell   *lc;

	foreach(lc, empties_at_commit ? plan->relationOids : NIL)
	{
		if (isTempNamespace(get_rel_namespace(lfirst_oid(lc))))
			return true;
	}
	return false;
}

/*
 * Writing to temporary tables is reading in a read-only transaction; in hold
 * it is not, since it takes an XID. EXPLAIN ANALYZE of CREATE TABLE AS comes
 * with a destination that creates the table.
 */
static Intent
plan_intent(QueryDesc *query)
{
	PlannedStmt *plan = query->plannedstmt;
	bool		temporary_is_read = gate_state() == GATE_READ_ONLY;

	if (query->dest && (query->dest->mydest == DestIntoRel ||
						query->dest->mydest == DestTransientRel))
		return MAY_WRITE;
	if (query->operation == CMD_SELECT && !plan->hasModifyingCTE && !locks_rows(plan))
		return temporary_is_read || !empties_afterwards(plan) ? MAY_READ : MAY_WRITE;
	return temporary_is_read && only_temporary(plan) ? MAY_READ : MAY_WRITE;
}

static void
executor_start(QueryDesc *query, int eflags)
{
	if (gate_is_closed() && !(eflags & EXEC_FLAG_EXPLAIN_ONLY))
		pass_gate(plan_intent(query));
	if (unlikely(gate_read_only_login))
		gate_login_writes_again();

	if (previous_executor_start)
		previous_executor_start(query, eflags);
	else
		standard_ExecutorStart(query, eflags);
}

/* ---- ProcessUtility ---- */

static Intent
transaction_intent(const TransactionStmt *stmt)
{
	switch (stmt->kind)
	{
		case TRANS_STMT_COMMIT_PREPARED:
		case TRANS_STMT_ROLLBACK_PREPARED:
			return MAY_WRITE;
		default:
			return MAY_READ;
	}
}

/*
 * Known to be reading or local to the session; the rest may write. CALL, DO,
 * EXECUTE, EXPLAIN and cursors pass: what is inside is looked at by itself.
 */
static Intent
utility_intent(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_TransactionStmt:
			return transaction_intent((TransactionStmt *) stmt);
		case T_CopyStmt:
			return ((CopyStmt *) stmt)->is_from ? MAY_WRITE : MAY_READ;
		case T_LockStmt:
			/* Stronger ones announce a write, and are logged with an XID. */
			return ((LockStmt *) stmt)->mode > RowExclusiveLock ? MAY_WRITE : MAY_READ;
		case T_AlterSystemStmt:
		case T_CallStmt:
		case T_CheckPointStmt:
		case T_ClosePortalStmt:
		case T_ConstraintsSetStmt:
		case T_DeallocateStmt:
		case T_DeclareCursorStmt:
		case T_DiscardStmt:
		case T_DoStmt:
		case T_ExecuteStmt:
		case T_ExplainStmt:
		case T_FetchStmt:
		case T_ListenStmt:
		case T_LoadStmt:
		case T_PrepareStmt:
		case T_UnlistenStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
			return MAY_READ;
		default:
			return MAY_WRITE;
	}
}

/* Does it change files, other transactions or another server, whatever becomes of its own? */
static bool
outside_transaction(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_AlterDatabaseStmt:
		case T_AlterSubscriptionStmt:
		case T_CreateSubscriptionStmt:
		case T_CreateTableSpaceStmt:
		case T_CreatedbStmt:
		case T_DropSubscriptionStmt:
		case T_DropTableSpaceStmt:
		case T_DropdbStmt:
			return true;
		case T_TransactionStmt:
			return transaction_intent((TransactionStmt *) stmt) == MAY_WRITE;
		default:
			return false;
	}
}

static bool
makes_table_to_empty(Node *stmt)
{
	if (IsA(stmt, CreateStmt))
		return ((CreateStmt *) stmt)->oncommit == ONCOMMIT_DELETE_ROWS;
	return IsA(stmt, CreateTableAsStmt) && ((CreateTableAsStmt *) stmt)->into->onCommit == ONCOMMIT_DELETE_ROWS;
}

/* Statements that need an XID earlier than PostgreSQL would give them one. */
static void
give_xid(Node *stmt)
{
	empties_at_commit |= makes_table_to_empty(stmt);
	if (IsA(stmt, NotifyStmt))
		xid_due_at_commit = true;
	else if (IsA(stmt, TransactionStmt) &&
			 ((TransactionStmt *) stmt)->kind == TRANS_STMT_PREPARE)
		xid_due_at_commit = true;
	else if (outside_transaction(stmt))
		take_xid_first(true);
}

static void
process_utility(PlannedStmt *pstmt, const char *query_string, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *query_env, DestReceiver *dest, QueryCompletion *qc)
{
	if (gate_is_closed() && !IsAbortedTransactionBlockState())
		pass_gate(utility_intent(pstmt->utilityStmt));
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

/*
 * Built-in functions that write. The other volatile ones only look (at the
 * clock, the server, locks, files) and a DBA needs them most while writes are
 * held. txid_current() and its kin are marked stable and take an XID.
 */
static bool
builtin_writes(Oid function)
{
	switch (function)
	{
		COMPAT_CASES_OF_NEW_WRITERS
		case COMPAT_F_EMIT_MESSAGE_BYTEA:
		case COMPAT_F_EMIT_MESSAGE_TEXT:
		case F_BRIN_DESUMMARIZE_RANGE:
		case F_BRIN_SUMMARIZE_NEW_VALUES:
		case F_BRIN_SUMMARIZE_RANGE:
		case F_GIN_CLEAN_PENDING_LIST:
		case F_LOWRITE:
		case F_LO_CREAT:
		case F_LO_CREATE:
		case F_LO_FROM_BYTEA:
		case F_LO_IMPORT_TEXT:
		case F_LO_IMPORT_TEXT_OID:
		case F_LO_PUT:
		case F_LO_TRUNCATE:
		case F_LO_TRUNCATE64:
		case F_LO_UNLINK:
		case F_NEXTVAL:
		case F_PG_CREATE_RESTORE_POINT:
		case F_PG_CURRENT_XACT_ID:
		case F_PG_EXTENSION_CONFIG_DUMP:
		case F_PG_IMPORT_SYSTEM_COLLATIONS:
		case F_PG_NEXTOID:
		case F_PG_NOTIFY:
		case F_PG_REPLICATION_ORIGIN_ADVANCE:
		case F_PG_REPLICATION_ORIGIN_CREATE:
		case F_PG_REPLICATION_ORIGIN_DROP:
		case F_PG_SWITCH_WAL:
		case F_SETVAL_REGCLASS_INT8:
		case F_SETVAL_REGCLASS_INT8_BOOL:
		case F_TXID_CURRENT:
			return true;
		default:
			return false;
	}
}

static bool
is_ours(Oid function)
{
	char	   *schema = get_namespace_name(get_func_namespace(function));

	return schema != NULL && strcmp(schema, OUR_SCHEMA) == 0;
}

static Intent
function_intent(Oid function)
{
	if (function < FirstNormalObjectId)
		return builtin_writes(function) ? MAY_WRITE : MAY_READ;
	if (func_volatile(function) != PROVOLATILE_VOLATILE || is_ours(function))
		return MAY_READ;
	return MAY_CALL;
}

/* Functions that write where no XID shows it, or only behind the commit check. */
static void
function_executes(Oid function)
{
	if (gate_is_closed())
	{
		Intent		intent = function_intent(function);

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

/* Will PostgreSQL take an XID behind this check, for what the transaction has still to do? */
static bool
xid_is_due(void)
{
	return xid_due_at_commit ||
		(empties_at_commit && (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0);
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
	if (likely(pg_atomic_read_u32(&gate_shared->state) < GATE_SEALING))
		return;
	if (gate_state() < GATE_SEALING || commit_is_awaited)
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
gate_install_hooks(void)
{
	previous_executor_start = ExecutorStart_hook;
	ExecutorStart_hook = executor_start;
	previous_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	previous_object_access = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(transaction_event, NULL);
}
