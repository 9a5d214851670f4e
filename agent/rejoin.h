/*
 * rejoin.h
 *		What pg.rejoin and its ways (direct, rewind, basebackup) share.
 */
#ifndef PINGPONG_AGENT_REJOIN_H
#define PINGPONG_AGENT_REJOIN_H

#include "agent/standby.h"

typedef struct Rejoin
{
	ActionContext *ctx;
	const AgentConfig *config;
	Upstream	upstream;
	const char *method;			/* as ordered: auto, direct, rewind, basebackup */
	bool		force;			/* an operator says that what is here may be lost */
	int64_t		seal_epoch;		/* the seal must be of this epoch or a later one */
	int			readers_grace_ms;
	double		deadline;		/* monotonic */
	json_t	   *result;
	json_t	   *tried;			/* in result */
	bool		was_primary;	/* what the directory was when we found it */
	bool		may_overwrite;	/* it held nothing then that only it has, or that may be lost */

	/* of the source, asked before anything is touched */
	unsigned	source_tli;
	char		source_system[32];
	bool		fork_known;		/* our timeline is an ancestor of the source's, or the same */
	unsigned long long fork_lsn;	/* 0: the same timeline */
} Rejoin;

/* source.c: asks the upstream about its timeline, and where it left ours. */
extern int	source_inspect(Rejoin *rejoin, unsigned local_tli);

/* source.c: does the local WAL (of a stopped server) reach past the fork? */
extern bool source_diverged(Rejoin *rejoin, unsigned local_tli);

/* source.c: the timeline that a data directory is on (0: it cannot be told), and whether it was a primary's */
extern unsigned local_timeline(const char *data);
extern bool local_was_primary(const char *data);

/* source.c: pg_rewind before 16 trusts the source's control file, which tells the old
 * timeline until the first checkpoint after the promotion. */
extern int	source_checkpoint(Rejoin *rejoin);

/* saved.c: the node's own files, kept in state_dir/saved while rewind or base backup overwrites them */
extern int	saved_take(Rejoin *rejoin, const char *data);	/* what is saved already stays */
extern int	saved_put_back(Rejoin *rejoin, const char *data);
extern void saved_forget(Rejoin *rejoin);

/* rewind.c: each leaves a stopped data directory that is configured as a standby */
extern int	rejoin_by_rewind(Rejoin *rejoin);
extern int	rejoin_by_basebackup(Rejoin *rejoin);

/* rewind.c: finishes a swap of folders that was interrupted; removes what is left when all is well */
extern int	rejoin_repair_folders(Rejoin *rejoin);
extern void rejoin_remove_leftovers(Rejoin *rejoin);

/* rewind.c: was pg_rewind begun and not ended?  Then the directory must not be started as it is. */
extern bool rejoin_half_rewound(Rejoin *rejoin);
extern void rejoin_note_whole(Rejoin *rejoin);

#endif							/* PINGPONG_AGENT_REJOIN_H */
