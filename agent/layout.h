/*
 * layout.h
 *		Where a data directory lies: its own folder, and parts of it elsewhere (WAL, tablespaces); hiding it, exchanging it.
 *
 * All work is done inside these folders, in DATA/pingpong.rejoin and PART/pingpong.*: a data directory may be a mount
 * point, a link, or in a folder that is not ours, and stays what it is.
 */
#ifndef PINGPONG_AGENT_LAYOUT_H
#define PINGPONG_AGENT_LAYOUT_H

#include "agent/job/action.h"

#define LAYOUT_PARTS_MAX 64

/* A folder outside of the data directory that a link in it leads to. */
typedef struct LayoutPart
{
	char	   *link;			/* pg_wal or pg_tblspc/OID */
	char	   *path;			/* the folder itself, without links */
} LayoutPart;

typedef struct Layout
{
	char	   *data;			/* the folder itself, without links */
	int			n_parts;
	LayoutPart	parts[LAYOUT_PARTS_MAX];
} Layout;

/*
 * What has been begun. In all but NONE the directory lacks PG_VERSION for a time, so that no server starts in it:
 * neither half a server nor one that could come up as a primary may be found by who starts servers.
 */
typedef enum LayoutPhase
{
	LAYOUT_WHOLE,
	LAYOUT_HIDING,				/* DATA is being moved into the hidden folder */
	LAYOUT_HIDDEN,				/* all of it is there, and as it was */
	LAYOUT_REWINDING,			/* there, and pg_rewind was begun: it must not be recovered by itself any more */
	LAYOUT_REWOUND,				/* there, and pg_rewind has ended well */
	LAYOUT_SHOWING,				/* the hidden folder is whole and being moved back */
	LAYOUT_SWAP_OUT,			/* a new copy is complete; the old directory is being moved away */
	LAYOUT_SWAP_IN				/* the new copy is being moved in */
} LayoutPhase;

/* Finds the parts by the links in `where` (the data directory, or its hidden place); fails the job when it cannot. */
extern int	layout_read(ActionContext *ctx, const char *where, Layout *layout);
extern void layout_free(Layout *layout);

/* Why no rewind or base backup could work in these folders, malloc'd; NULL: nothing is known against it. */
extern char *layout_problem(const AgentConfig *config);

/* Folders of the work, malloc'd: hidden, new, old, saved. For a part elsewhere: new and old beside its contents. */
extern char *layout_work(const AgentConfig *config, const char *name);
extern char *layout_part_work(const LayoutPart *part, const char *name);
extern int	layout_make_work(ActionContext *ctx);
extern bool layout_has_work(const AgentConfig *config);	/* of a rejoin that has begun, and not ended */

/*
 * The phase that was left, by a mark in the work folder that names run and directory. A mark that is not about what lies
 * here now (a person has put another directory in its place) is void, and removed with its folder.
 */
extern LayoutPhase layout_phase(ActionContext *ctx);

/* Fails the job (58030) when there is a mark that cannot be read: layout_phase() would take it for none. */
extern int	layout_check_mark(ActionContext *ctx);

extern bool layout_is_hidden(LayoutPhase phase);

/* Did the host run on since the mark was written? If not, what was written afterwards may be lost in part. */
extern bool layout_same_boot(const AgentConfig *config);

/* Finishes what was interrupted and can be finished: what stays is WHOLE or hidden. Not while a server runs. */
extern int	layout_repair(ActionContext *ctx);

/*
 * A server was started between the first rename of a move and the look for it: it gets its PG_VERSION back, and what was
 * begun is void.
 */
extern int	layout_give_back(ActionContext *ctx);

extern int	layout_hide(ActionContext *ctx);

/* Durably, of what is hidden: how far pg_rewind is, and to which of the source's timelines. */
extern int	layout_note(ActionContext *ctx, LayoutPhase phase, unsigned timeline);
extern unsigned layout_rewind_timeline(const AgentConfig *config);
extern int	layout_show(ActionContext *ctx);
extern int	layout_swap(ActionContext *ctx, const Layout *layout);

/* Before anything is written beside a part: where it lies, durably. The copy may not have that part any more. */
extern int	layout_note_parts(ActionContext *ctx, const Layout *layout);

/* The node is well: everything that the work left is removed. */
extern void layout_clean_up(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_LAYOUT_H */
