/*
 * layout.h
 *		Where a data directory is: its own folder, and parts of it elsewhere (WAL, tablespaces).
 *
 * All work is done inside these folders, in DATA/pingpong.rejoin and PART/pingpong.*. A data directory may be a mount
 * point, a link, or in a folder that is not ours, and it stays what it is.
 */
#ifndef PINGPONG_AGENT_PG_LAYOUT_H
#define PINGPONG_AGENT_PG_LAYOUT_H

#include <stdbool.h>

#include "agent/job/action.h"

#define LAYOUT_PARTS_MAX 64
#define LAYOUT_WORK "pingpong.rejoin"	/* the folder of our work, in the data directory */
#define LAYOUT_VERSION_FILE "PG_VERSION"	/* no server starts without it */

/* A folder outside of the data directory that a link in it points to. */
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

/* Finds the parts by the links in `where` (the data directory, or its hidden place); fails the job when it cannot. */
extern int	layout_read(ActionContext *ctx, const char *where, Layout *layout);
extern void layout_free(Layout *layout);

/* Of the entries of a folder: our own folders stay where they are, and what a file system has in its root. */
extern bool layout_stays(const char *name);

/* Is it a tablespace? Of that only the folder of the server's version is the server's: others may be beside it. */
extern bool layout_is_space(const LayoutPart *part);

/* The part with that link; NULL: there is none. */
extern const LayoutPart *layout_part(const Layout *layout, const char *link);

/* A folder of that major in a tablespace's location, malloc'd; 0: of any major but `but`. NULL: there is none. */
extern char *layout_space_of(const char *location, int major, int but);

/* Why no rewind or base backup could work in these folders, malloc'd; NULL: nothing is known against it. */
extern char *layout_problem(const PgInstance *pg);

/* The same for pg_rewind, which works on all that is in the location of a tablespace. */
extern char *layout_rewind_problem(const PgInstance *pg);

/* Folders of the work, malloc'd: hidden, new, old, saved. For a part elsewhere: new and old beside its contents. */
extern char *layout_work(const PgInstance *pg, const char *name);
extern char *layout_part_work(const LayoutPart *part, const char *name);
extern int	layout_make_work(ActionContext *ctx);
extern bool layout_has_work(const PgInstance *pg);	/* of a rejoin that has begun, and not ended */

#endif							/* PINGPONG_AGENT_PG_LAYOUT_H */
