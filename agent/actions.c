/*
 * actions.c
 *		The table of actions: name, function, and how the executor treats it.
 *
 * All are idempotent; RESUMABLE is for those that somebody waits for across a restart
 * of the agent.  A hook is not: what it did so far is known to nobody.  MAIN_ONLY is for the promote token, which a
 * run has one of: see job/instance.c.
 */
#include "agent/action/hook.h"
#include "agent/action/promote.h"
#include "agent/action/retire.h"
#include "agent/action/settings.h"
#include "agent/action/slots.h"
#include "agent/action/small.h"
#include "agent/actions.h"
#include "agent/facts/facts.h"
#include "agent/rejoin/run.h"
#include "agent/route/bouncercommit.h"
#include "agent/route/bouncerpause.h"
#include "agent/route/bouncerprepare.h"
#include "agent/route/smoke.h"
#include "common/names.h"

const ActionEntry all_actions[] = {
	{ACTION_FACTS, action_facts, ACTION_LAZY_JOURNAL | ACTION_ANY_EPOCH},
	{ACTION_PG_CHECKPOINT, action_pg_checkpoint, ACTION_NEEDS_PG | ACTION_LAZY_JOURNAL},
	{ACTION_PG_WARM, action_pg_warm, ACTION_NEEDS_PG | ACTION_LAZY_JOURNAL},
	{ACTION_PG_SETTING, action_pg_setting, ACTION_NEEDS_PG | ACTION_RESUMABLE},
	{ACTION_SLOT_ENSURE, action_slot_ensure, ACTION_NEEDS_PG | ACTION_RESUMABLE},
	{ACTION_SLOT_DROP, action_slot_drop, ACTION_NEEDS_PG | ACTION_RESUMABLE},
	{ACTION_TOKEN_ARM, action_token_arm, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_LAZY_JOURNAL},
	{ACTION_TOKEN_BURN, action_token_burn,
	ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_PG_PROMOTE, action_pg_promote,
	ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE | ACTION_LAZY_JOURNAL | ACTION_RAISES_EPOCH},
	{ACTION_PG_FOLLOW, action_pg_follow, ACTION_NEEDS_PG | ACTION_RESUMABLE | ACTION_RAISES_EPOCH},
	{ACTION_PG_RETIRE, action_pg_retire, ACTION_NEEDS_PG | ACTION_RESUMABLE | ACTION_RAISES_EPOCH},
	{ACTION_PG_REJOIN, action_pg_rejoin, ACTION_NEEDS_PG | ACTION_RESUMABLE | ACTION_RAISES_EPOCH},
	{ACTION_PGBOUNCER_PREPARE, action_pgbouncer_prepare, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_PGBOUNCER_PAUSE, action_pgbouncer_pause, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_PGBOUNCER_COMMIT, action_pgbouncer_commit, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL | ACTION_RAISES_EPOCH},
	{ACTION_PGBOUNCER_RELEASE, action_pgbouncer_release, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_PGBOUNCER_SMOKE, action_pgbouncer_smoke, ACTION_LAZY_JOURNAL},
	{ACTION_HOOK, action_hook, 0},
	{ACTION_NOTE, action_note, ACTION_LAZY_JOURNAL},
	{NULL}
};
