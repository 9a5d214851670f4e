/*
 * judge.c
 *		What is on this host, may it be made a standby, and why not.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/core/clock.h"
#include "agent/core/files.h"
#include "agent/job/action.h"
#include "agent/pg/datadir.h"
#include "agent/pg/formats.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/pg/pg.h"
#include "agent/pg/seal.h"
#include "agent/pg/stop.h"
#include "agent/pg/version.h"
#include "agent/rejoin/judge.h"
#include "agent/rejoin/lost.h"
#include "agent/rejoin/pastfork.h"
#include "agent/rejoin/rule.h"
#include "agent/rejoin/source.h"
#include "common/sqlstate.h"

#define LIST_MS 30000			/* for the list in a refusal */
#define MANUAL_RUN "manual"		/* of a seal that was made by hand: it says nothing of any other server */

/* ---- what is here ---- */

static unsigned
ask_number(PGconn *conn, const char *sql)
{
	char	   *value = pg_value(conn, sql);
	unsigned	number = value ? (unsigned) strtoul(value, NULL, 10) : 0;

	free(value);
	return number;
}

/* A running server tells its timeline better than its files. */
static unsigned
present_timeline(PGconn *conn, const DataDir *dir, bool primary)
{
	unsigned	asked = !conn ? 0 : ask_number(conn, primary ? SERVER_TIMELINE_SQL :
											   "SELECT " STANDBY_TIMELINE_SQL);

	return asked > dir->timeline ? asked : dir->timeline;
}

/* Files of the node's own may be there before its data: the host was set up so. */
static bool
is_own(const char *name)
{
	for (int i = 0; node_files[i]; i++)
		if (strcmp(name, node_files[i]) == 0)
			return true;
	return layout_stays(name);
}

/* Nothing that could be anybody's data: it is absent, or empty. What cannot be read is not known to be so. */
static bool
has_no_data(const char *place)
{
	DIR		   *dir = opendir(place);
	struct dirent *entry;
	bool		empty = dir || errno == ENOENT;

	while (empty && dir && (errno = 0, entry = readdir(dir)))
		empty = is_own(entry->d_name) && strcmp(entry->d_name, LAYOUT_VERSION_FILE) != 0;
	if (dir && errno != 0)
		empty = false;
	if (dir)
		closedir(dir);
	return empty;
}

static Relation
relation_here(const Rejoin *rejoin, const DataDir *dir, unsigned timeline)
{
	/* a primary whose pg_wal cannot be read may be on any timeline */
	if (!dir->known || (dir->was_primary && !dir->wal_known))
		return has_no_data(rejoin->place) ? RELATION_EMPTY : RELATION_UNKNOWN;
	return source_relation(&rejoin->source, rejoin->place, timeline, dir->newest_history);
}

/*
 * Where clients' writes end on the node's timeline: by its own seal, or, of a standby, by that of the run that moved
 * the primary away from this timeline.
 */
static bool
writes_end(const Rejoin *rejoin, unsigned timeline, bool sealed, unsigned long long seal_lsn)
{
	unsigned long long fork = source_fork(&rejoin->source, timeline);

	if (!sealed && !rejoin->facts.primary && rejoin->seal_timeline == timeline)
		seal_lsn = rejoin->seal_lsn;
	return fork != 0 && seal_lsn != 0 && seal_lsn <= fork;
}

/*
 * What a running standby has received past the fork does no harm until it is replayed. Of a running primary whose
 * writes have their end it is no question of permission, and asked when it is stopped: until then it may write more.
 */
static PastFork
past_fork(Rejoin *rejoin, PGconn *conn, unsigned timeline)
{
	unsigned long long fork = source_fork(&rejoin->source, timeline);
	unsigned long long replayed = 0;
	char	   *lsn;

	if (rejoin->facts.relation != RELATION_ANCESTOR)
		return PAST_FORK_NO;
	if (conn && rejoin->facts.primary && rejoin->facts.writes_end_before_fork)
		return PAST_FORK_UNKNOWN;
	if (!conn || rejoin->facts.primary)
		return source_past_fork(&rejoin->source, rejoin->pg, rejoin->place, timeline);
	lsn = pg_value(conn, "SELECT pg_catalog.pg_last_wal_replay_lsn()");
	lsn_parse(lsn, &replayed);
	free(lsn);
	return replayed > fork ? PAST_FORK_YES : PAST_FORK_NO;
}

/* The cluster that was made there for its configuration. */
static void
take_for_empty(RejoinFacts *facts)
{
	facts->relation = RELATION_EMPTY;
	facts->other_cluster = facts->primary = facts->sealed = false;
	facts->past_fork = PAST_FORK_NO;
}

/* All that the rule wants to know. `conn`: of a running server, NULL if it does not run or does not answer. */
void
rejoin_look(Rejoin *rejoin, PGconn *conn)
{
	RejoinFacts *facts = &rejoin->facts;
	DataDir		dir = datadir_look(rejoin->place);
	char		ours[32];
	char		run[80] = "";
	unsigned long long seal_lsn = 0;
	unsigned	timeline;

	facts->primary = conn ? !pg_is_true(conn, "SELECT pg_catalog.pg_is_in_recovery()") :
		dir.was_primary && !file_exists_in(rejoin->place, "backup_label");
	timeline = present_timeline(conn, &dir, facts->primary);
	snprintf(ours, sizeof(ours), "%llu", (unsigned long long) dir.system);
	facts->other_cluster = dir.known && strcmp(ours, rejoin->source.system) != 0;
	facts->relation = relation_here(rejoin, &dir, timeline);
	facts->sealed = conn ? facts->primary && server_seal(rejoin->pg, conn, run, sizeof(run), &seal_lsn) :
		seal_read(rejoin->place, &dir, run, sizeof(run), &seal_lsn);
	facts->writes_end_before_fork = writes_end(rejoin, timeline, facts->sealed, seal_lsn);
	/* a seal made by hand, and a fence, tell nothing of what was written here before */
	if (facts->relation == RELATION_SAME && (strcmp(run, MANUAL_RUN) == 0 || seal_lsn == SEAL_LSN_UNKNOWN))
		facts->sealed = false;
	facts->past_fork = past_fork(rejoin, conn, timeline);
	rejoin->timeline = timeline;
	if (rejoin->heir && strcmp(ours, rejoin->heir->blank) == 0)
		take_for_empty(facts);
}

/* ---- refusing ---- */

static void
explain_newer(Rejoin *rejoin)
{
	action_detail(rejoin->ctx, "It is on timeline %u, the server at %s:%s on timeline %u. What was written "
				  "here since would be lost.",
				  rejoin->timeline, rejoin->upstream.host, rejoin->upstream.port, rejoin->source.timeline);
	action_hint(rejoin->ctx, "This node is the newer side. If it is the right one, stop the server at "
				"%s:%s and make that one a "
				"standby of this one.", rejoin->upstream.host, rejoin->upstream.port);
}

static void
explain_more(Rejoin *rejoin)
{
	unsigned long long fork = source_fork(&rejoin->source, rejoin->timeline);
	json_t	   *list = lost_list(rejoin, LIST_MS);
	char	   *lost = list ? lost_sentence(list) : NULL;

	action_detail(rejoin->ctx, "The server at %s:%s left timeline %u at %X/%X; WAL of this node "
				  "from there on would be lost.",
				  rejoin->upstream.host, rejoin->upstream.port, rejoin->timeline, (unsigned) (fork >> 32),
				  (unsigned) fork);
	if (lost)
		action_detail_more(rejoin->ctx, "%s", lost);
	action_hint(rejoin->ctx, "Save what clients wrote here. Then a superuser may give the risk => '%s'; its WAL from "
				"there on is kept.", RISK_WORDS);
	free(lost);
	json_decref(list);
}

/* Which WAL would go, and which side is the older one; never the destructive way for the newer. */
int
rejoin_refuse(Rejoin *rejoin)
{
	RejoinVerdict verdict = rejoin->rule.verdict;
	ActionContext *ctx = rejoin->ctx;

	action_forget_error(ctx);
	action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "%s %s", rejoin->who, rejoin_verdict_text(verdict));
	if (verdict == REJOIN_NEWER || (verdict == REJOIN_NOT_SEALED && rejoin->facts.relation == RELATION_AHEAD))
		explain_newer(rejoin);
	else if (verdict == REJOIN_HAS_MORE || verdict == REJOIN_MAYBE_MORE)
		explain_more(rejoin);
	else if (verdict == REJOIN_OTHER_CLUSTER)
	{
		action_detail(ctx, "The system identifier at %s:%s is %s, its version %d.", rejoin->upstream.host,
					  rejoin->upstream.port, rejoin->source.system, rejoin->source.major);
		if (rejoin->source.major == version_of_data(rejoin->pg))
			action_hint(ctx, "To give this node to another cluster, empty its data directory first.");
		else
			action_hint(ctx, "If that one was upgraded, name the folders of version %d in the agent's configuration: "
						"a section [postgresql.NAME] with \"successor = yes\".", rejoin->source.major);
	}
	else if (verdict == REJOIN_NO_SUCH_WAY)
		action_hint(ctx, "Use the method \"auto\", or \"basebackup\".");
	else
	{
		action_detail(ctx, "It is on timeline %u, the server at %s:%s on timeline %u.", rejoin->timeline,
					  rejoin->upstream.host, rejoin->upstream.port, rejoin->source.timeline);
		action_hint(ctx, "Find out which of the two has the right data, and stop or seal the other one.");
	}
	return -1;
}

int
rejoin_judge(Rejoin *rejoin, PGconn *conn)
{
	rejoin_look(rejoin, conn);
	rejoin->judged_ms = clock_monotonic_ms();
	rejoin->rule = rejoin_rule(&rejoin->facts);
	return rejoin->rule.verdict == REJOIN_ALLOWED ? 0 : rejoin_refuse(rejoin);
}
