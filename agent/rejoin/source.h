/*
 * source.h
 *		The server that a node is to follow. It is asked before anything is touched.
 */
#ifndef PINGPONG_AGENT_REJOIN_SOURCE_H
#define PINGPONG_AGENT_REJOIN_SOURCE_H

#include <libpq-fe.h>
#include <stdbool.h>

#include "agent/job/action.h"
#include "agent/pg/standby.h"
#include "agent/rejoin/rule.h"

typedef struct Source
{
	const Upstream *upstream;
	double		deadline;		/* monotonic, for asking */
	char		system[32];		/* system identifier */
	int			major;			/* of PostgreSQL */
	unsigned	timeline;
	/* a position on that timeline: a node that has replayed it certainly follows this server */
	unsigned long long lsn;
	char	   *history;		/* the history file of its timeline, malloc'd; NULL: it is the first */
} Source;

/*
 * Which server it is, its timeline and its ancestors, a position, and that it has our slot. Fails the job (08006)
 * when it does not answer by source->deadline, or in ten seconds.
 */
extern int	source_inspect(ActionContext *ctx, Source *source);

/* Where the source left that timeline; 0: it is the source's own, or no ancestor. */
extern unsigned long long source_fork(const Source *source, unsigned timeline);

/* The relation of a node on `timeline` (that knows of newest_history) to the source. */
extern Relation source_relation(const Source *source, const char *data, unsigned timeline, unsigned newest_history);

/*
 * Has the source the WAL from there on? False only when it says that it has not: then a server that does not stream
 * needs another way, and else its trouble is another one.
 */
extern bool source_can_serve(ActionContext *ctx, const Source *source, unsigned timeline, unsigned long long lsn);

/* pg_rewind before 16 trusts the source's control file, which tells the old timeline until the first checkpoint
 * after the promotion: makes one, if there was none. */
extern int	source_checkpoint(ActionContext *ctx, const Source *source);

/* An SQL connection as the role of [postgresql] rewind; NULL with the job's error set. */
extern PGconn *source_connect(ActionContext *ctx, const Source *source);

#endif							/* PINGPONG_AGENT_REJOIN_SOURCE_H */
