/*
 * settings.c - settings that a run relaxes and restores. Each has an action that relaxes it and one that restores it,
 * which is both the undo of the first and a step at the end of a run that went well.
 */
#include "postgres.h"

#include "common/sqlstate.h"
#include "worker/action/action.h"
#include "worker/clock.h"
#include "worker/job.h"
#include "worker/journal.h"
#include "worker/relaxation.h"
#include "worker/settings.h"
#include "worker/wal.h"

#define SYNC_MS			10000	/* for standbys to be there, before their names are set */
#define WAITING_MS		2000	/* commits wait for a standby that went in this moment, at most so long */

static ActionResult
setting_begin(Run *run, Step *step, const char *value, bool restore)
{
	return job_begin(run, step, step->node, ACTION_PG_SETTING,
					 json_pack("{s:s, s:s?, s:b}", "name", relaxation_of(step->name)->setting, "value", value,
							   "restore", (int) restore));
}

static ActionResult
relax_begin(Run *run, Step *step)
{
	return setting_begin(run, step, relaxation_of(step->name)->relaxed, false);
}

static ActionResult
calm_wal_advance(Run *run, Step *step)
{
	ActionResult result;

	if (step->lsn != InvalidXLogRecPtr)
		return wal_calm_writer(step);
	result = job_advance(run, step);
	return result == ACTION_DONE ? wal_calm_writer(step) : result;
}

/* ---- putting it back ---- */

/* Names are set, all else is put back as it was; an agent that remembers the same value does that with names, too. */
static ActionResult
restore_begin(Run *run, Step *step)
{
	const Relaxation *r = relaxation_of(step->name);
	char	   *wanted = relaxation_wanted(run, r, step->node);

	return setting_begin(run, step, wanted, wanted == NULL || wanted[0] == '\0' || !r->names);
}

/*
 * Here, on a primary that takes writes, the names make commits wait at once: not before standbys satisfy them. NULL:
 * there is nothing to wait for.
 */
static char *
names_to_satisfy(Run *run, Step *step)
{
	char	   *wanted;

	if (strcmp(step->node, worker_self()) != 0 || (run->moves && !run->is_target))
		return NULL;
	wanted = relaxation_wanted(run, relaxation_of(step->name), step->node);
	return wanted && wanted[0] ? wanted : NULL;
}

static ActionResult
sync_restore_begin(Run *run, Step *step)
{
	char	   *names = names_to_satisfy(run, step);

	if (names && !journal_satisfiable(names))
	{
		if (run->moves && ms_since(step->clock) < SYNC_MS)
			return ACTION_WAIT;
		return step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
						 "no standby streams that satisfies \"%s\"; it stays relaxed until one does",
						 names);
	}
	step->phase = 1;
	return restore_begin(run, step);
}

/* A standby may have gone in this moment: writes that wait for ever are worse than the old setting. */
static ActionResult
sync_restore_advance(Run *run, Step *step)
{
	ActionResult result;

	if (step->phase == 0)
		return sync_restore_begin(run, step);
	if (step->phase == 3)
		return (result = job_advance(run, step)) == ACTION_WAIT ? result :
			step_fail(step, STATE_NOT_IN_PREREQUISITE_STATE,
					  "commits had to wait, no standby satisfied it; it stays relaxed until one does");
	if (step->phase == 1 && (result = job_advance(run, step)) != ACTION_DONE)
		return result;
	if (step->phase == 1)
	{
		INSTR_TIME_SET_CURRENT(step->since);
		step->phase = 2;
	}
	if (names_to_satisfy(run, step) == NULL || journal_synchronous())
		return ACTION_DONE;
	if (ms_since(step->since) < WAITING_MS)
		return ACTION_WAIT;
	step->phase = 3;
	step->round++;
	step_release(step);
	return setting_begin(run, step, "", false);
}

const Action settings_actions[] = {
	{"sync_relax", relax_begin, job_advance, 0, ACTION_PG_SETTING},
	{"sync_restore", sync_restore_begin, sync_restore_advance, 0, ACTION_PG_SETTING},
	{"fast_wal", relax_begin, job_advance, 0, ACTION_PG_SETTING},
	{"slow_wal", restore_begin, job_advance, 0, ACTION_PG_SETTING},
	{"calm_wal", relax_begin, calm_wal_advance, 0, ACTION_PG_SETTING},
	{"wake_wal", restore_begin, job_advance, 0, ACTION_PG_SETTING},
	{NULL}
};
