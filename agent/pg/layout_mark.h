/*
 * layout_mark.h
 *		The mark in the work folder: what was begun with the data directory, and where its parts are.
 */
#ifndef PINGPONG_AGENT_PG_LAYOUT_MARK_H
#define PINGPONG_AGENT_PG_LAYOUT_MARK_H

#include <jansson.h>
#include <stdbool.h>

#include "agent/job/action.h"
#include "agent/pg/layout.h"

/*
 * What has been begun. In all but NONE the directory lacks PG_VERSION for a time, so that no server starts in it:
 * a start must find neither half a server nor one that could come up as a primary.
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

/*
 * The phase that was left, by a mark in the work folder that names run and directory. A mark that is not about what
 * is here now (a person has put another directory in its place) is void, and removed with its folder.
 */
extern LayoutPhase layout_phase(ActionContext *ctx);

/* Fails the job (58030) when there is a mark that cannot be read: layout_phase() would take it for none. */
extern int	layout_check_mark(ActionContext *ctx);

extern bool layout_is_hidden(LayoutPhase phase);

/* Did the host run on since the mark was written? If not, what was written afterwards may be lost in part. */
extern bool layout_same_boot(const PgInstance *pg);

/* Durably, of what is hidden: how far pg_rewind is, and to which of the source's timelines. */
extern int	layout_note(ActionContext *ctx, LayoutPhase phase, unsigned timeline);
extern unsigned layout_rewind_timeline(const PgInstance *pg);

/* A directory is known by its PG_VERSION, which is a new file in a copy; 0: there is none. */
extern json_int_t layout_identity(const char *data);

/* The mark itself; NULL: there is none. `coming` is the identity of the directory that will be in DATA at the end. */
extern json_t *layout_read_mark(const PgInstance *pg);
extern int	layout_write_mark(ActionContext *ctx, LayoutPhase phase, json_int_t leaving, json_int_t coming,
							  json_t *more);
extern void layout_remove_mark(const PgInstance *pg);

/* The parts as they are in a mark, and back */
extern json_t *layout_parts_json(const Layout *layout);
extern void layout_parts_from(json_t *mark, const PgInstance *pg, Layout *layout);

/* Before anything is written beside a part: where it is, durably. The copy may not have that part any more. */
extern int	layout_note_parts(ActionContext *ctx, const Layout *layout);

/* The node is well: everything that the work left is removed. */
extern void layout_clean_up(ActionContext *ctx);

#endif							/* PINGPONG_AGENT_PG_LAYOUT_MARK_H */
