/*
 * actions.c
 *		The table of actions: name, function, and how the executor treats it.
 *
 * All are idempotent. RESUMABLE is for those whose result is needed across a restart of the agent. A hook is not
 * resumable: nobody knows how much of it was done. MAIN_ONLY is for the promote token, of which a run has one: see
 * job/instance.c.
 */
#include "agent/action/fence.h"
#include "agent/action/hook.h"
#include "agent/action/look.h"
#include "agent/action/promote.h"
#include "agent/action/retire.h"
#include "agent/action/route.h"
#include "agent/action/settings.h"
#include "agent/action/slots.h"
#include "agent/action/small.h"
#include "agent/actions.h"
#include "agent/rehearse/rehearse.h"
#include "agent/rejoin/run.h"
#include "agent/upgrade/back.h"
#include "agent/upgrade/cross.h"
#include "agent/upgrade/extensions.h"
#include "agent/upgrade/facts.h"
#include "agent/upgrade/prepare.h"
#include "agent/upgrade/standby.h"
#include "common/names.h"

const ActionEntry all_actions[] = {
	{ACTION_FACTS, action_upgrade_facts, ACTION_LAZY_JOURNAL | ACTION_ANY_EPOCH},
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
	{ACTION_PG_REJOIN, action_upgrade_rejoin, ACTION_NEEDS_PG | ACTION_RESUMABLE | ACTION_RAISES_EPOCH},
	{ACTION_PG_LOOK, action_pg_look, ACTION_LAZY_JOURNAL | ACTION_ANY_EPOCH | ACTION_MAIN_ONLY},
	/* not resumed: its run may have been undone meanwhile */
	{ACTION_PG_FENCE, action_pg_fence, ACTION_NEEDS_PG | ACTION_MAIN_ONLY},
	{ACTION_PG_UNFENCE, action_pg_unfence, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_EPOCH_CLAIM, action_epoch_claim, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_EPOCH_RELEASE, action_epoch_release, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_ROUTE_OBSERVE, action_route_observe, ACTION_LAZY_JOURNAL | ACTION_ANY_EPOCH | ACTION_UNRECORDED},
	{ACTION_ROUTE_PREPARE, action_route_prepare, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_ROUTE_HOLD, action_route_hold, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_ROUTE_COMMIT, action_route_commit, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL | ACTION_RAISES_EPOCH},
	{ACTION_ROUTE_RELEASE, action_route_release, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_ROUTE_SMOKE, action_route_smoke, ACTION_LAZY_JOURNAL},
	/* their names in protocol 1, for workers of the version before */
	{"pgbouncer.prepare", action_route_prepare, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{"pgbouncer.pause", action_route_hold, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{"pgbouncer.commit", action_route_commit, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL | ACTION_RAISES_EPOCH},
	{"pgbouncer.release", action_route_release, ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{"pgbouncer.smoke", action_route_smoke, ACTION_LAZY_JOURNAL},
	/* resumed, pg_upgrade would meet what it left in the new directory */
	{ACTION_UPGRADE_PREPARE, action_upgrade_prepare, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_DISCARD, action_upgrade_discard,
	ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_UPGRADE_STOP, action_upgrade_stop, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_SERVE, action_upgrade_serve, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_RUN, action_upgrade_run, ACTION_NEEDS_PG | ACTION_MAIN_ONLY},
	{ACTION_UPGRADE_REVERT, action_upgrade_revert, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_START, action_upgrade_start, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_STATISTICS, action_upgrade_statistics, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_EXTENSIONS, action_upgrade_extensions, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_HALT, action_upgrade_halt, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_BACK, action_upgrade_back, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_UPGRADE_KEEP, action_upgrade_keep,
	ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE | ACTION_LAZY_JOURNAL},
	{ACTION_UPGRADE_FINALIZE, action_upgrade_finalize, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	/* resumed, they would meet what is left of themselves */
	{ACTION_REHEARSE_CLONE, action_rehearse_clone, ACTION_NEEDS_PG | ACTION_MAIN_ONLY},
	{ACTION_REHEARSE_RUN, action_rehearse_run, ACTION_NEEDS_PG | ACTION_MAIN_ONLY},
	{ACTION_REHEARSE_BACK, action_rehearse_back, ACTION_NEEDS_PG | ACTION_MAIN_ONLY},
	{ACTION_REHEARSE_CLEAR, action_rehearse_clear, ACTION_NEEDS_PG | ACTION_MAIN_ONLY | ACTION_RESUMABLE},
	{ACTION_HOOK, action_hook, 0},
	{ACTION_NOTE, action_note, ACTION_LAZY_JOURNAL},
	{NULL}
};
