/*
 * relaxation.c - settings that a run relaxes, and the value to which each is restored.
 *
 * What a run cannot restore at its end (the node is away, no standby could satisfy the value) stays in
 * pingpong.relaxed. The idle worker restores it when that is possible (restore.c).
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

#include "worker/db.h"
#include "worker/relaxation.h"
#include "worker/settings.h"

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

/* What the setting of the node is to be again, palloc'd; NULL: nothing, or not known. */
char *
relaxation_remembered(const char *node, const char *setting)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *wanted = NULL;

	db_begin();
	if (db_exec("SELECT wanted FROM pingpong.relaxed WHERE node = $1 AND name = $2", 2, node, setting) == 1 &&
		db_text(0, 1))
		wanted = MemoryContextStrdup(context, db_text(0, 1));
	db_end();
	return wanted;
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

/* The text after the name, quoted or not, at `at`; the name itself goes into `name`, "" for what is no name. */
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

/* The old primary's list, with the names that its standbys will have after the move; palloc'd. */
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
		if (strcmp(run->steps[i].name, r->relax) == 0 && strcmp(run->steps[i].node, node) == 0)
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
	const char *old = protocol_text(run->notes, "synchronous_standby_names");
	char	   *wanted;

	if (step == NULL)
		wanted = relaxation_remembered(node, r->setting);
	else if (r->names && previous && previous[0] == '\0' && run->is_target)	/* promoted, whatever its routes do */
		wanted = exchange_names(run, old);
	else
		wanted = previous ? pstrdup(previous) : NULL;
	json_decref(detail);
	return wanted;
}

static bool
is_restored(Run *run, const Relaxation *r, Step *relaxing)
{
	for (int i = 0; i < run->nsteps; i++)
		if (strcmp(run->steps[i].name, r->restore) == 0 && strcmp(run->steps[i].node, relaxing->node) == 0 &&
			run->steps[i].state == STEP_SUCCEEDED)
			return true;
	return relaxing->state == STEP_UNDONE;
}

/* At the end of a run: what it relaxed and did not put back is remembered, what it put back is forgotten. */
void
relaxation_save(Run *run)
{
	char		id[24];

	snprintf(id, sizeof(id), INT64_FORMAT, run->id);
	for (int i = 0; i < run->nsteps; i++)
	{
		Step	   *step = &run->steps[i];
		const Relaxation *r = relaxation_of(step->name);
		bool		relaxes = r && strcmp(r->relax, step->name) == 0;
		char	   *wanted;

		if (r == NULL || step->state == STEP_PENDING || step->state == STEP_SKIPPED ||
			(!relaxes && step->state != STEP_SUCCEEDED))
			continue;
		wanted = relaxation_wanted(run, r, step->node);
		db_begin();
		if (!relaxes || is_restored(run, r, step) || (wanted && strcmp(wanted, r->relaxed) == 0))
			db_exec("DELETE FROM pingpong.relaxed WHERE node = $1 AND name = $2", 2, step->node, r->setting);
		else
			db_exec("INSERT INTO pingpong.relaxed (node, name, value, wanted, run) VALUES ($1, $2, $3, "
						 "$4, $5::pg_catalog.int8) "
						 "ON CONFLICT (node, name) DO UPDATE SET value = EXCLUDED.value, wanted = "
						 "coalesce(EXCLUDED.wanted, relaxed.wanted), "
						 "since = EXCLUDED.since, run = EXCLUDED.run", 5, step->node, r->setting, r->relaxed, wanted,
						 id);
		db_end();
	}
}

/* Forgets what a person has set since on this server; true if something can be restored now. */
bool
relaxation_due(void)
{
	bool		due;

	db_begin();
	db_exec("DELETE FROM pingpong.relaxed WHERE node = pingpong.node_name() AND "
			"pg_catalog.current_setting(name) IS DISTINCT FROM value", 0);
	due = db_exec("SELECT FROM pingpong_internal.relaxed_due() LIMIT 1", 0) == 1;
	db_end();
	return due;
}
