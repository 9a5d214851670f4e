/*
 * rejoin.h
 *		What is known of a node that is made a standby, and of the source that it is to follow.
 */
#ifndef PINGPONG_AGENT_REJOIN_REJOIN_H
#define PINGPONG_AGENT_REJOIN_REJOIN_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/job/action.h"
#include "agent/pg/standby.h"
#include "agent/rejoin/rule.h"
#include "agent/rejoin/source.h"

/* The node's server is not rejoined in its own folder, but succeeded by one in another folder, at the same port. */
typedef struct RejoinHeir
{
	const char *former;			/* data directory of the node's server: its tablespaces keep their places */
	const char *blank;			/* system identifier of the cluster that was made there for this, and never ran */
	int			(*make_way) (void *argument);	/* stops the server that has the place, when the copy is complete */
	void	   *argument;
} RejoinHeir;

typedef struct Rejoin
{
	ActionContext *ctx;
	const PgInstance *pg;		/* that is made a standby */
	const RejoinHeir *heir;		/* NULL: it is the node's server itself */
	char		who[160];		/* the same for people: node "dallas", instance "next" of node "dallas" */
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
	char		place[1200];	/* where the data directory is now: DATA, or hidden */
	char	  **options;		/* of the server's last start (postmaster.opts), without -D */
} Rejoin;

#endif							/* PINGPONG_AGENT_REJOIN_REJOIN_H */
