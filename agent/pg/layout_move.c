/*
 * layout_move.c
 *		Hiding a data directory, and exchanging it for another.
 *
 * A directory is hidden and exchanged entry by entry, with renames inside its own folder. That is not one step, so a
 * mark tells what was begun, durably and before the first rename. The work can go on from any point, because an entry
 * is either here or there. PG_VERSION goes first and comes last, since no server starts without it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/pg/datadir.h"
#include "agent/pg/layout_mark.h"
#include "agent/pg/layout_move.h"
#include "agent/pg/postmaster.h"
#include "common/sqlstate.h"

static int
move_one(ActionContext *ctx, const char *from, const char *to, const char *name)
{
	char	   *source = xasprintf("%s/%s", from, name);
	char	   *target = xasprintf("%s/%s", to, name);
	int			rc = rename(source, target);

	if (rc < 0 && errno == ENOENT && !file_exists(source))
		rc = 0;					/* it was moved before */
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not move \"%s\" to \"%s\": %s", source, target, strerror(errno));
	free(target);
	free(source);
	return rc;
}

/*
 * One pass; the number that was moved, -1: the job failed. A folder that changes while it is read may hide an entry.
 */
static int
move_pass(ActionContext *ctx, const char *from, const char *to)
{
	DIR		   *dir = opendir(from);
	struct dirent *entry;
	int			moved = 0;

	if (!dir)
		return errno == ENOENT ? 0 :
			action_fail(ctx, STATE_IO_ERROR, "could not open \"%s\": %s", from, strerror(errno));
	errno = 0;
	while (moved >= 0 && (entry = readdir(dir)))
	{
		if (!layout_stays(entry->d_name))
			moved = move_one(ctx, from, to, entry->d_name) < 0 ? -1 : moved + 1;
		errno = 0;
	}
	if (moved >= 0 && errno != 0)
		moved = action_fail(ctx, STATE_IO_ERROR, "could not read \"%s\": %s", from, strerror(errno));
	closedir(dir);
	return moved;
}

static int
move_all(ActionContext *ctx, const char *from, const char *to)
{
	int			rc;

	do
		rc = move_pass(ctx, from, to);
	while (rc > 0);
	if (rc == 0 && file_exists(from) && (file_fsync_path(to) < 0 || file_fsync_path(from) < 0))
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", to, strerror(errno));
	return rc;
}

int
layout_give_back(ActionContext *ctx)
{
	static const char *const names[] = {"hidden", "old", NULL};
	const char *data = ctx->pg->data;
	int			rc = 0;

	for (int i = 0; rc == 0 && names[i]; i++)
	{
		char	   *place = layout_work(ctx->pg, names[i]);

		if (layout_identity(data) == 0 && layout_identity(place) != 0)
			rc = move_one(ctx, place, data, LAYOUT_VERSION_FILE);
		free(place);
	}
	if (rc == 0 && file_fsync_path(data) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", data, strerror(errno));
	if (rc == 0)
		layout_remove_mark(ctx->pg);
	return rc;
}

/* From here on no server starts in `from`. */
static int
move_out(ActionContext *ctx, const char *from, const char *to)
{
	int			rc = make_directory(to, 0700);

	if (rc < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not create \"%s\": %s", to, strerror(errno));
	rc = move_one(ctx, from, to, LAYOUT_VERSION_FILE);
	if (rc == 0 && file_fsync_path(from) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", from, strerror(errno));
	/* from here on none starts; one that has started since the stop is let be */
	if (rc == 0 && !postmaster_gone(from) && (rc = layout_give_back(ctx)) == 0)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server was started meanwhile");
	return rc == 0 ? move_all(ctx, from, to) : -1;
}

/* Only after the last rename a server can start in `to`. */
static int
move_in(ActionContext *ctx, const char *from, const char *to)
{
	int			rc = move_all(ctx, from, to);

	if (rc == 0)
		rc = move_one(ctx, from, to, LAYOUT_VERSION_FILE);
	if (rc == 0 && file_fsync_path(to) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", to, strerror(errno));
	return rc;
}

/* Nothing may be in it any more that only it has. */
static void
remove_emptied(const char *path)
{
	if (rmdir(path) < 0 && errno != ENOENT)
		log_warning("could not remove \"%s\": %s", path, strerror(errno));
}

/* ---- the phases ---- */

static int
hide(ActionContext *ctx)
{
	char	   *hidden = layout_work(ctx->pg, "hidden");
	int			rc = move_out(ctx, ctx->pg->data, hidden);

	free(hidden);
	return rc == 0 ? layout_note(ctx, LAYOUT_HIDDEN, 0) : -1;
}

static int
show(ActionContext *ctx)
{
	char	   *hidden = layout_work(ctx->pg, "hidden");
	int			rc = move_in(ctx, hidden, ctx->pg->data);

	if (rc == 0)
	{
		layout_remove_mark(ctx->pg);
		remove_emptied(hidden);
	}
	free(hidden);
	return rc;
}

/* Checked once more: what was mounted since would stop the move in the middle. */
static int
check_movable(ActionContext *ctx, char *problem)	/* which is freed */
{
	int			rc = 0;

	if (problem)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the data directory cannot be moved: %s", problem);
	free(problem);
	return rc;
}

/* What could not be hidden is whole again, for the next job. */
int
layout_hide(ActionContext *ctx)
{
	json_int_t	id = layout_identity(ctx->pg->data);
	int			rc = check_movable(ctx, layout_rewind_problem(ctx->pg));

	if (rc < 0 || layout_make_work(ctx) < 0 || layout_write_mark(ctx, LAYOUT_HIDING, id, id, json_object()) < 0)
		return -1;
	rc = hide(ctx);
	if (rc < 0 && layout_phase(ctx) == LAYOUT_HIDING && postmaster_gone(ctx->pg->data))
		show(ctx);
	return rc;
}

int
layout_show(ActionContext *ctx)
{
	char	   *hidden = layout_work(ctx->pg, "hidden");
	json_int_t	id = layout_identity(hidden);

	free(hidden);
	return layout_write_mark(ctx, LAYOUT_SHOWING, id, id, json_object()) < 0 ? -1 : show(ctx);
}

/* One entry, durably, if it is there. */
static int
move_named(ActionContext *ctx, const char *from, const char *to, const char *name)
{
	int			rc = move_one(ctx, from, to, name);

	if (rc == 0 && (file_fsync_path(to) < 0 || file_fsync_path(from) < 0))
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", to, strerror(errno));
	return rc;
}

/* In the location of a tablespace other servers, and people, may have something: `space` is what goes. */
static int
swap_part(ActionContext *ctx, const LayoutPart *part, bool in, const char *space)
{
	char	   *place = layout_part_work(part, in ? "new" : "old");
	int			rc = 0;

	if (in)
		rc = move_all(ctx, place, part->path);
	else if (make_directory(place, 0700) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not create \"%s\": %s", place, strerror(errno));
	else if (layout_is_space(part))
		rc = move_named(ctx, part->path, place, space);
	else
		rc = move_all(ctx, part->path, place);
	free(place);
	return rc;
}

/* The copy is complete, and tells of which version both are. */
static int
swap_out(ActionContext *ctx, const Layout *layout)
{
	char	   *old = layout_work(ctx->pg, "old");
	char	   *fresh = layout_work(ctx->pg, "new");
	char		space[DATADIR_SPACE_MAX];
	int			rc = datadir_space_name(fresh, space) ? move_out(ctx, ctx->pg->data, old) :
		action_fail(ctx, STATE_IO_ERROR, "could not find out of which version \"%s\" is", fresh);

	for (int i = 0; rc == 0 && i < layout->n_parts; i++)
		rc = swap_part(ctx, &layout->parts[i], false, space);
	free(fresh);
	free(old);
	return rc;
}

static int
swap_in(ActionContext *ctx, const Layout *layout)
{
	char	   *fresh = layout_work(ctx->pg, "new");
	int			rc = 0;

	for (int i = 0; rc == 0 && i < layout->n_parts; i++)
		rc = swap_part(ctx, &layout->parts[i], true, NULL);
	if (rc == 0)
		rc = move_in(ctx, fresh, ctx->pg->data);
	if (rc == 0)
	{
		layout_remove_mark(ctx->pg);
		remove_emptied(fresh);
	}
	free(fresh);
	return rc;
}

static int
swap_from(ActionContext *ctx, LayoutPhase phase, const Layout *layout)
{
	char	   *fresh = layout_work(ctx->pg, "new");
	json_int_t	coming = layout_identity(fresh);
	json_int_t	leaving = layout_identity(ctx->pg->data);
	int			rc = 0;

	free(fresh);
	if (phase == LAYOUT_SWAP_OUT)
	{
		rc = layout_write_mark(ctx, LAYOUT_SWAP_OUT, leaving, coming, layout_parts_json(layout));
		if (rc == 0)
			rc = swap_out(ctx, layout);
		if (rc == 0)
			rc = layout_write_mark(ctx, LAYOUT_SWAP_IN, leaving, coming, layout_parts_json(layout));
	}
	return rc == 0 ? swap_in(ctx, layout) : -1;
}

int
layout_swap(ActionContext *ctx, const Layout *layout)
{
	if (layout_phase(ctx) == LAYOUT_WHOLE && check_movable(ctx, layout_problem(ctx->pg)) < 0)
		return -1;
	return swap_from(ctx, LAYOUT_SWAP_OUT, layout);
}

/*
 * The hiding is undone: nothing was changed yet. What is hidden stays so: pg_rewind may have begun, and whoever comes
 * next has to go on with it.
 */
int
layout_repair(ActionContext *ctx)
{
	LayoutPhase phase = layout_phase(ctx);
	json_t	   *mark;
	Layout		layout;
	int			rc;

	switch (phase)
	{
		case LAYOUT_WHOLE:
		case LAYOUT_HIDDEN:
		case LAYOUT_REWINDING:
		case LAYOUT_REWOUND:
			return 0;
		case LAYOUT_HIDING:
		case LAYOUT_SHOWING:
			return show(ctx);
		case LAYOUT_SWAP_OUT:
		case LAYOUT_SWAP_IN:
			break;
	}
	mark = layout_read_mark(ctx->pg);
	layout_parts_from(mark, ctx->pg, &layout);
	rc = swap_from(ctx, phase, &layout);
	layout_free(&layout);
	json_decref(mark);
	return rc;
}
