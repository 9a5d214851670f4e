/*
 * alerts.c - looks at the rules of alerts (pingpong.alert_rule), once in pingpong.alert_interval.
 *
 * Each rule is a statement in a transaction of its own, with a time limit, and one is looked at in a round of the
 * worker's loop: a request waits for one rule at most. A rule with an error is an alert, and the others go on. What
 * SQL is to remember of a rule (since when a condition is true) is kept here as text; it is gone with the process.
 */
#include "postgres.h"

#include "access/xact.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "common/names.h"
#include "worker/alerts.h"
#include "worker/clock.h"
#include "worker/db.h"
#include "worker/settings.h"
#include "worker/shared.h"

#define RULE_LIMIT_MS	1000	/* for one rule */
#define RULES_MAX		200

typedef struct Rule
{
	char	   *name;
	char	   *memory;			/* jsonb as text */
} Rule;

static MemoryContext rules_context;
static Rule *rules;
static int	nrules;
static int	next_rule;			/* nrules: all were looked at */

/* What was remembered of a rule. */
static const char *
memory_of(const char *name)
{
	for (int i = 0; i < nrules; i++)
		if (strcmp(rules[i].name, name) == 0)
			return rules[i].memory;
	return "{}";
}

/* The rules of now, with what was remembered of them. */
static void
load_rules(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pg_pingpong alert rules",
												  ALLOCSET_SMALL_SIZES);
	Rule	   *loaded = MemoryContextAlloc(context, RULES_MAX * sizeof(Rule));
	int			n;

	db_begin();
	n = Min(db_exec("SELECT r FROM pingpong_internal.alert_rules() r", 0), RULES_MAX);
	for (int i = 0; i < n; i++)
	{
		loaded[i].name = MemoryContextStrdup(context, db_text(i, 1));
		loaded[i].memory = MemoryContextStrdup(context, memory_of(loaded[i].name));
	}
	db_end();
	if (rules_context)
		MemoryContextDelete(rules_context);
	MemoryContextSetParent(context, TopMemoryContext);	/* until here an error takes it away */
	rules_context = context;
	rules = loaded;
	nrules = n;
	next_rule = 0;
}

static void
apply_rule(Rule *rule)
{
	char	   *before = rule->memory;
	char	   *memory;

	db_begin();
	db_exec("SELECT pingpong_internal.alert_apply($1, $2::pg_catalog.jsonb)", 2, rule->name, before);
	memory = db_text(0, 1);
	memory = MemoryContextStrdup(rules_context, memory ? memory : "{}");
	db_end();
	rule->memory = memory;		/* only now: what was not committed is not remembered */
	pfree(before);
}

static void
break_rule(Rule *rule, const char *error)
{
	bool		is_new;

	db_begin();
	db_exec("SELECT pingpong_internal.alert_broken($1, $2)", 2, rule->name, error);
	is_new = strcmp(db_text(0, 1), "t") == 0;
	db_end();
	if (is_new)
		ereport(LOG, (errmsg("alert rule \"%s\" cannot be looked at: %s", rule->name, error)));
}

/* Its errors, and a cancel that came too late, end here. */
static void
stop_clock(void)
{
	disable_timeout(STATEMENT_TIMEOUT, false);
	QueryCancelPending = false;
}

/* NULL: it succeeded; else why it did not, in the present context. */
static char *
guarded(void (*act) (Rule *rule), Rule *rule)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile why = NULL;

	PG_TRY();
	{
		enable_timeout_after(STATEMENT_TIMEOUT, RULE_LIMIT_MS);
		act(rule);
		stop_clock();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		stop_clock();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (IsTransactionState())
			AbortCurrentTransaction();
		LWLockReleaseAll();
		MemoryContextSwitchTo(context);
		why = error->message;
	}
	PG_END_TRY();
	return why;
}

static void
load(Rule *unused)
{
	load_rules();
}

static const char *broken_by;

static void
tell_broken(Rule *rule)
{
	break_rule(rule, broken_by);
}

static void
look_at_rule(Rule *rule)
{
	char	   *why = guarded(apply_rule, rule);

	if (!why)
		return;
	broken_by = why;
	why = guarded(tell_broken, rule);
	if (why)
		ereport(LOG, (errmsg("alert rule \"%s\" cannot be looked at, and no alert be raised: %s", rule->name, why)));
}

static void
note_round(void)
{
	LWLockAcquire(worker_shared->lock, LW_EXCLUSIVE);
	worker_shared->alerts_at = GetCurrentTimestamp();
	LWLockRelease(worker_shared->lock);
}

/* A round begins; false: the rules cannot be read, so there is none. */
static bool
begin_round(void)
{
	char	   *why = guarded(load, NULL);

	if (why)
		ereport(LOG, (errmsg("the rules of alerts cannot be read: %s", why)));
	return why == NULL;
}

long
alerts_advance(void)
{
	static int64 due = 0;		/* now_us() */
	int64		now = now_us();
	int64		interval = worker_alert_interval * INT64CONST(1000);

	if (interval == 0)
		return worker_sample_interval;
	if (next_rule < nrules)
	{
		look_at_rule(&rules[next_rule++]);
		if (next_rule == nrules)
			note_round();
		return 0;
	}
	due = Min(due, now + interval);	/* it may have become shorter */
	if (now < due)
		return (long) ((due - now) / 1000 + 1);
	due = now + interval;
	return begin_round() ? 0 : (long) (interval / 1000);
}
