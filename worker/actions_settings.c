/*
 * actions_settings.c - settings that a run relaxes, and restores.
 *
 * Each has two actions: one relaxes it, the other puts it back, as the undo of the first and at the end of a run that
 * went well. What is not put back (its node is away, no standby could satisfy it) stays in pingpong.relaxed, and the
 * idle worker restores it when it can be (restore.c).
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "worker/journal.h"
#include "worker/run.h"

#define SYNC_MS			10000	/* for standbys to be there, before their names are set */
#define WAITING_MS		2000	/* commits wait for a standby that went in this moment, at most so long */

static const Relaxation relaxations[] = {
	/* writes on the new primary must not wait for a standby that is not back yet */
	{"sync_relax", "sync_restore", "synchronous_standby_names", "", true},
	/* new WAL segments are not filled with zeros while the target is promoted */
	{"fast_wal", "slow_wal", "wal_init_zero", "off", false},

	/*
	 * Readers of a sealed server write hint bits, and the WAL writer would flush them within 200 ms: past the fork,
	 * which costs a rewind. Not flushed, they are gone with the immediate stop.
	 */
	{"calm_wal", "wake_wal", "wal_writer_delay", "10s", false},
	{NULL}
};

/* That which the action makes, or takes back; NULL: it is neither. */
const Relaxation *
relaxation_of(const char *action)
{
	for (const Relaxation *r = relaxations; r->relax; r++)
		if (strcmp(r->relax, action) == 0 || strcmp(r->restore, action) == 0)
			return r;
	return NULL;
}

static ActionResult
setting_begin(Run *run, Step *step, const char *value, bool restore)
{
	return job_begin(run, step, step->subject, "pg.setting",
					 json_pack("{s:s, s:s?, s:b}", "name", relaxation_of(step->name)->setting, "value", value, "restore", (int) restore));
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
		return calm_walwriter(step);
	result = job_advance(run, step);
	return result == ACTION_DONE ? calm_walwriter(step) : result;
}

/* ---- what it was ---- */

/*
 * The name under which a standby that the list calls `name` will stream from the new primary; NULL: the same. With
 * the move each standby takes the name of its node, whatever it called itself, and the two nodes change places. Case
 * does not matter to PostgreSQL here.
 */
static const char *
name_behind_move(Run *run, const char *name)
{
	const char *node = NULL;
	const char *app;
	json_t	   *its;

	json_object_foreach(json_object_get(run->notes, "standbys"), app, its)
		if (pg_strcasecmp(app, name) == 0)
			node = json_string_value(its);
	if (pg_strcasecmp(node ? node : name, run->target) == 0)
		return run->source;
	if (pg_strcasecmp(node ? node : name, run->source) == 0)
		return run->target;
	return node;
}

static bool
in_name(char c)
{
	return isalnum((unsigned char) c) || c == '_' || c == '$' || IS_HIGHBIT_SET(c);
}

/* The text behind the name, quoted or not, at `at`; the name itself goes into `name`, "" for what is no name. */
static const char *
scan_name(const char *at, StringInfo name)
{
	bool		quoted = *at == '"';

	resetStringInfo(name);
	for (at += quoted; *at && (quoted || in_name(*at)); at++)
	{
		if (quoted && *at == '"' && *++at != '"')
			return at;
		appendStringInfoChar(name, *at);
	}
	/* FIRST 2 (...): words and numbers of the grammar */
	if (!quoted && (strspn(name->data, "0123456789") == name->len || pg_strcasecmp(name->data, "first") == 0 ||
					pg_strcasecmp(name->data, "any") == 0))
		resetStringInfo(name);
	return at;
}

/* The old primary's list, with the names that its standbys will have behind the move; palloc'd. */
static char *
exchange_names(Run *run, const char *names)
{
	StringInfoData out;
	StringInfoData name;

	initStringInfo(&out);
	initStringInfo(&name);
	while (*names)
	{
		const char *end = *names == '"' || in_name(*names) ? scan_name(names, &name) : NULL;
		const char *other = end && name.len > 0 ? name_behind_move(run, name.data) : NULL;

		if (end == NULL)
			end = names + 1;
		if (other)
			appendStringInfoString(&out, quote_identifier(other));
		else
			appendBinaryStringInfo(&out, names, (int) (end - names));
		names = end;
	}
	return out.data;
}

static Step *
relaxing_step(Run *run, const Relaxation *r, const char *node)
{
	for (int i = 0; i < run->nsteps; i++)
		if (strcmp(run->steps[i].name, r->relax) == 0 && strcmp(run->steps[i].subject, node) == 0)
			return &run->steps[i];
	return NULL;
}

/*
 * The value to put back on `node`, palloc'd. NULL: it is not known here; the agent remembers what there is to put
 * back, if anything.
 *
 * The names that a new primary should wait for are its own, or else those of the old primary with the two nodes
 * exchanged.
 */
char *
relaxation_wanted(Run *run, const Relaxation *r, const char *node)
{
	Step	   *step = relaxing_step(run, r, node);
	json_t	   *detail = step ? step_detail(step) : NULL;
	const char *previous = json_string_value(json_object_get(detail, "previous"));
	const char *old = json_text(run->notes, "synchronous_standby_names");
	char	   *wanted;

	if (step == NULL)
		wanted = journal_relaxed(node, r->setting);
	else if (r->names && previous && previous[0] == '\0' && run->is_target)	/* promoted, whatever its routes do */
		wanted = exchange_names(run, old);
	else
		wanted = previous ? pstrdup(previous) : NULL;
	json_decref(detail);
	return wanted;
}

/* ---- putting it back ---- */

/* Names are set, all else is put back as it was; an agent that remembers the same value does that with names, too. */
static ActionResult
restore_begin(Run *run, Step *step)
{
	const Relaxation *r = relaxation_of(step->name);
	char	   *wanted = relaxation_wanted(run, r, step->subject);

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

	if (strcmp(step->subject, worker_self()) != 0 || (run->moves && !run->is_target))
		return NULL;
	wanted = relaxation_wanted(run, relaxation_of(step->name), step->subject);
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
		return step_fail(step, "55000", "no standby streams that satisfies \"%s\"; it stays relaxed until one does", names);
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
			step_fail(step, "55000", "commits had to wait, no standby satisfied it; it stays relaxed until one does");
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
	step->attempt++;
	step_release(step);
	return setting_begin(run, step, "", false);
}

const Action actions_of_settings[] = {
	{"sync_relax", relax_begin, job_advance, false},
	{"sync_restore", sync_restore_begin, sync_restore_advance, false},
	{"fast_wal", relax_begin, job_advance, false},
	{"slow_wal", restore_begin, job_advance, false},
	{"calm_wal", relax_begin, calm_wal_advance, false},
	{"wake_wal", restore_begin, job_advance, false},
	{NULL}
};
