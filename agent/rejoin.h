/*
 * rejoin.h
 *		What pg.rejoin and its ways (direct, rewind, basebackup) share.
 */
#ifndef PINGPONG_AGENT_REJOIN_H
#define PINGPONG_AGENT_REJOIN_H

#include "agent/pg/datadir.h"
#include "agent/pg/layout.h"
#include "agent/source.h"

typedef struct Rejoin
{
	ActionContext *ctx;
	const AgentConfig *config;
	Upstream	upstream;
	Source		source;
	Goal		goal;
	int			readers_grace_ms;
	double		deadline;		/* monotonic */
	json_t	   *result;
	json_t	   *tried;			/* in result */
	json_t	   *fallbacks;		/* in result: why each way that was tried did not do */

	/* what a seal proves of the node's WAL: of the run that orders this, or of the file in the directory */
	unsigned	seal_timeline;	/* 0: nothing */
	unsigned long long seal_lsn;

	RejoinFacts facts;
	RejoinRule	rule;
	unsigned	timeline;		/* the node's */
	bool		follow_only;	/* never stop a server */
	double		judged_ms;		/* monotonic: when the facts were true */
	bool		no_more;		/* what failed would fail in each other way, too */
	char		place[1200];	/* where the data directory lies now: DATA, or hidden */
	char	  **options;		/* of the server's last start (postmaster.opts), without -D */
} Rejoin;

/* saved.c: the node's own files, kept in the work folder while rewind or base backup brings the source's */
extern int	saved_check(Rejoin *rejoin);	/* could they be saved? Fails the job with the reason, while the server runs */
extern int	saved_take(Rejoin *rejoin);
extern int	saved_put_back(Rejoin *rejoin, const char *data);

/* rewind.c, basebackup.c: each leaves a stopped data directory that is configured as a standby */
extern int	rejoin_by_rewind(Rejoin *rejoin);
extern int	rejoin_by_basebackup(Rejoin *rejoin, int (*stop) (Rejoin *rejoin));	/* the copy is made before the stop */

/* basebackup.c: could it work here? Fails the job with the reason; asked while the server still runs. */
extern int	basebackup_feasible(Rejoin *rejoin);

/* rewind.c: the same for pg_rewind */
extern int	rewind_feasible(Rejoin *rejoin);

/*
 * tool.c: what an agent that is gone has left running (pg_basebackup's second process, a single-user server) is ended
 * before somebody works in the same folders. Fails the job when it does not go.
 */
extern int	tool_end_leftovers(Rejoin *rejoin);

/* tool.c: pg_rewind, pg_basebackup, postgres: output to the job, progress, its last words in the error */
extern int	run_tool(Rejoin *rejoin, char *const *argv, char *password);

#endif							/* PINGPONG_AGENT_REJOIN_H */
