/*
 * intent.c - what a statement or a function may do, as far as a hook can tell.
 *
 * This file decides nothing and stops nothing. hooks.c does that, by what is said here. A new kind of write belongs
 * in these lists.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "parser/parsetree.h"
#include "storage/lockdefs.h"
#include "utils/lsyscache.h"

#include "gate/intent.h"
#include "gate/state.h"
#include "pg_compat.h"

static const char *const our_schemas[] = {"pingpong", "pingpong_check", "pingpong_internal"};

bool		gate_empties_at_commit = false;

/* ---- plans ---- */

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

	foreach(lc, gate_empties_at_commit ? plan->relationOids : NIL)
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
Intent
gate_plan_intent(QueryDesc *query)
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

/* ---- utility statements ---- */

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
Intent
gate_utility_intent(Node *stmt)
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
bool
gate_outside_transaction(Node *stmt)
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

bool
gate_makes_table_to_empty(Node *stmt)
{
	if (IsA(stmt, CreateStmt))
		return ((CreateStmt *) stmt)->oncommit == ONCOMMIT_DELETE_ROWS;
	return IsA(stmt, CreateTableAsStmt) && ((CreateTableAsStmt *) stmt)->into->onCommit == ONCOMMIT_DELETE_ROWS;
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

	for (int i = 0; schema != NULL && i < lengthof(our_schemas); i++)
		if (strcmp(schema, our_schemas[i]) == 0)
			return true;
	return false;
}

Intent
gate_function_intent(Oid function)
{
	if (function < FirstNormalObjectId)
		return builtin_writes(function) ? MAY_WRITE : MAY_READ;
	if (func_volatile(function) != PROVOLATILE_VOLATILE || is_ours(function))
		return MAY_READ;
	return MAY_CALL;
}
