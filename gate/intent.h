/*
 * intent.h - what a statement or a function may do, as far as a hook can tell.
 */
#ifndef PINGPONG_GATE_INTENT_H
#define PINGPONG_GATE_INTENT_H

#include "executor/execdesc.h"
#include "nodes/nodes.h"

typedef enum Intent
{
	MAY_READ,
	MAY_CALL,					/* a volatile function, which may write */
	MAY_WRITE
} Intent;

/* Of a plan about to be executed, a utility statement, a function about to be called. They look only. */
extern Intent gate_plan_intent(QueryDesc *query);
extern Intent gate_utility_intent(Node *stmt);
extern Intent gate_function_intent(Oid function);

/* Does it change files, other transactions or another server, whatever becomes of its own? */
extern bool gate_outside_transaction(Node *stmt);

/* Does it make a temporary table that is emptied at each commit? */
extern bool gate_makes_table_to_empty(Node *stmt);

/*
 * This session has a temporary table that is emptied at each commit, for which
 * PostgreSQL takes an XID late. Set by hooks.c as the table is made, and never
 * cleared; gate_plan_intent goes by it.
 */
extern bool gate_empties_at_commit;

#endif
