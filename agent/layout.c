/*
 * layout.c
 *		Where a data directory lies; hiding it, exchanging it.
 *
 * A directory is hidden, and exchanged for another, entry by entry with renames inside its own folder. That is not one
 * step, so a mark tells what was begun, durably and before the first rename; it can be gone on with from any point:
 * an entry is either here or there. PG_VERSION goes first and comes last, and no server starts without it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/job/params.h"
#include "agent/job/sqlstate.h"
#include "agent/layout.h"
#include "agent/postmaster.h"

#define WORK "pingpong.rejoin"
#define OURS "pingpong."		/* and pingpong.seal, which belongs to the server */
#define VERSION_FILE "PG_VERSION"
#define BOOT_ID_MAX 64

static const char *const phase_names[] = {"whole", "hiding", "hidden", "rewinding", "rewound", "showing", "swap_out",
"swap_in"};

/* ---- where things lie ---- */

static int
add_part(ActionContext *ctx, const char *where, const char *link, Layout *layout)
{
	char	   *path = xasprintf("%s/%s", where, link);
	struct stat st;
	char	   *real;
	int			rc = 0;

	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
	{
		real = realpath(path, NULL);
		if (!real)
			rc = action_fail(ctx, STATE_IO_ERROR, "could not find where \"%s\" points to: %s", path, strerror(errno));
		else if (layout->n_parts == LAYOUT_PARTS_MAX)
		{
			free(real);
			rc = action_fail(ctx, "54000", "there are more than %d tablespaces", LAYOUT_PARTS_MAX - 1);
		}
		else
			layout->parts[layout->n_parts++] = (LayoutPart) {xstrdup(link), real};
	}
	free(path);
	return rc;
}

int
layout_read(ActionContext *ctx, const char *where, Layout *layout)
{
	char	   *spaces = xasprintf("%s/pg_tblspc", where);
	DIR		   *dir = opendir(spaces);
	struct dirent *entry;
	int			rc;

	memset(layout, 0, sizeof(*layout));
	layout->data = realpath(ctx->config->pg.data, NULL);
	if (!layout->data)
		layout->data = xstrdup(ctx->config->pg.data);
	rc = add_part(ctx, where, "pg_wal", layout);
	while (rc == 0 && dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
		{
			char	   *link = xasprintf("pg_tblspc/%s", entry->d_name);

			rc = add_part(ctx, where, link, layout);
			free(link);
		}
	if (dir)
		closedir(dir);
	free(spaces);
	if (rc < 0)
		layout_free(layout);
	return rc;
}

void
layout_free(Layout *layout)
{
	for (int i = 0; i < layout->n_parts; i++)
	{
		free(layout->parts[i].link);
		free(layout->parts[i].path);
	}
	free(layout->data);
	memset(layout, 0, sizeof(*layout));
}

/* Our own folders stay, and what a file system has in its root. */
static bool
stays(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "lost+found") == 0 ||
		strcmp(name, ".snapshot") == 0 || strcmp(name, ".zfs") == 0 || strcmp(name, VERSION_FILE) == 0 ||
		strcmp(name, WORK) == 0 || strcmp(name, OURS "new") == 0 || strcmp(name, OURS "old") == 0;
}

/* Mounts are told by their number, 0: not known. */
static unsigned long long
mount_of(const char *path, int flags)
{
	struct statx st;

	return statx(AT_FDCWD, path, flags | AT_NO_AUTOMOUNT, STATX_MNT_ID, &st) == 0 && (st.stx_mask & STATX_MNT_ID) ? st.stx_mnt_id : 0;
}

/* What is mounted inside the folder cannot be moved out of it, which would only show in the middle of the move. */
static char *
mounted_inside(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	char	   *problem = NULL;

	while (dir && !problem && (entry = readdir(dir)))
		if (!stays(entry->d_name))
		{
			char	   *inside = xasprintf("%s/%s", path, entry->d_name);
			unsigned long long mount = mount_of(inside, AT_SYMLINK_NOFOLLOW);

			if (mount != 0 && mount != mount_of(path, 0))
				problem = xasprintf("\"%s\" is a mount point and cannot be moved", inside);
			free(inside);
		}
	if (dir)
		closedir(dir);
	return problem;
}

static char *
unusable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT ? NULL : xasprintf("\"%s\": %s", path, strerror(errno));
	if (access(path, R_OK | W_OK | X_OK) < 0)
		return xasprintf("the agent may not change \"%s\": %s", path, strerror(errno));
	return mounted_inside(path);
}

char *
layout_problem(const AgentConfig *config)
{
	char	   *problem = unusable(config->pg.data);
	char	   *spaces = xasprintf("%s/pg_tblspc", config->pg.data);
	char	   *wal = xasprintf("%s/pg_wal", config->pg.data);
	DIR		   *dir = opendir(spaces);
	struct dirent *entry;

	if (!problem)
		problem = unusable(wal);
	while (!problem && dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
		{
			char	   *path = xasprintf("%s/%s", spaces, entry->d_name);

			problem = unusable(path);
			free(path);
		}
	if (dir)
		closedir(dir);
	free(wal);
	free(spaces);
	return problem;
}

char *
layout_work(const AgentConfig *config, const char *name)
{
	return xasprintf("%s/" WORK "/%s", config->pg.data, name);
}

char *
layout_part_work(const LayoutPart *part, const char *name)
{
	return xasprintf("%s/" OURS "%s", part->path, name);
}

/* With the mode of the data directory: pg_basebackup and the server insist on 0700 or 0750. */
int
layout_make_work(ActionContext *ctx)
{
	const char *data = ctx->config->pg.data;
	char	   *work = layout_work(ctx->config, "");
	struct stat st;
	int			mode = stat(data, &st) == 0 && (st.st_mode & 0777) == 0750 ? 0750 : 0700;
	int			rc = make_directory(data, 0700);

	work[strlen(work) - 1] = '\0';
	if (rc == 0)
		rc = make_directory(work, mode);
	if (rc == 0)
		rc = chmod(work, mode);
	if (rc == 0)
		rc = file_fsync_path(data);
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not create \"%s\": %s", work, strerror(errno));
	free(work);
	return rc;
}

bool
layout_has_work(const AgentConfig *config)
{
	char	   *work = layout_work(config, "");
	bool		there = file_exists(work);

	free(work);
	return there;
}

/* ---- the mark ---- */

/* A directory is known by its PG_VERSION, which a copy has anew; 0: there is none. */
static json_int_t
identity(const char *data)
{
	char	   *path = xasprintf("%s/" VERSION_FILE, data);
	struct stat st;
	json_int_t	id = lstat(path, &st) == 0 ? (json_int_t) st.st_ino : 0;

	free(path);
	return id;
}

/* A file in the work folder; NULL, with *trouble (malloc'd) if it is there and says nothing. */
static json_t *
read_work(const AgentConfig *config, const char *name, char **trouble)
{
	char	   *path = layout_work(config, name);
	char	   *text = file_read(path, 256 * 1024, NULL);
	int			reason = errno;
	json_t	   *value = text ? json_loads(text, 0, NULL) : NULL;

	if (trouble && !text && reason != ENOENT && reason != ENOTDIR)
		*trouble = xasprintf("could not read \"%s\": %s", path, strerror(reason));
	else if (trouble && text && !value)
		*trouble = xasprintf("\"%s\" does not tell what was begun", path);
	free(text);
	free(path);
	return value;
}

static json_t *
read_mark(const AgentConfig *config)
{
	return read_work(config, "phase", NULL);
}

int
layout_check_mark(ActionContext *ctx)
{
	char	   *trouble = NULL;

	json_decref(read_work(ctx->config, "phase", &trouble));
	if (!trouble)
		return 0;
	action_fail(ctx, STATE_IO_ERROR, "%s", trouble);
	free(trouble);
	return -1;
}

static json_t *
parts_json(const Layout *layout)
{
	json_t	   *parts = json_array();

	for (int i = 0; i < layout->n_parts; i++)
		json_array_append_new(parts, json_pack("{s:s, s:s}", "link", layout->parts[i].link, "path", layout->parts[i].path));
	return json_pack("{s:o}", "parts", parts);
}

static void
parts_from(json_t *mark, const AgentConfig *config, Layout *layout)
{
	json_t	   *part;
	size_t		i;

	memset(layout, 0, sizeof(*layout));
	layout->data = xstrdup(config->pg.data);
	json_array_foreach(json_object_get(mark, "parts"), i, part)
		if (i < LAYOUT_PARTS_MAX)
			layout->parts[layout->n_parts++] =
				(LayoutPart) {xstrdup(param_string(part, "link", "")), xstrdup(param_string(part, "path", "/nonexistent"))};
}

/* `coming` is the identity of the directory that will be in DATA at the end of the phase. Takes `more` over. */
static int
write_mark(ActionContext *ctx, LayoutPhase phase, json_int_t leaving, json_int_t coming, json_t *more)
{
	char	   *path = layout_work(ctx->config, "phase");
	char		boot[BOOT_ID_MAX];
	json_t	   *mark;
	char	   *text;
	int			rc;

	host_boot_id(boot, sizeof(boot));
	mark = json_pack("{s:s, s:s, s:s, s:I, s:I}", "phase", phase_names[phase], "run", ctx->run, "boot", boot,
					 "leaving", leaving, "coming", coming);
	json_object_update(mark, more);
	json_decref(more);
	text = json_dumps(mark, JSON_COMPACT);
	rc = file_write_atomic(path, text, strlen(text), 0600, true);
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(text);
	json_decref(mark);
	free(path);
	return rc;
}

static void
remove_mark(const AgentConfig *config)
{
	char	   *path = layout_work(config, "phase");
	char	   *work = layout_work(config, "");

	if (unlink(path) == 0)
		file_fsync_path(work);
	free(work);
	free(path);
}

LayoutPhase
layout_phase(ActionContext *ctx)
{
	const AgentConfig *config = ctx->config;
	json_t	   *mark = read_mark(config);
	const char *name = param_string(mark, "phase", "");
	json_int_t	here = identity(config->pg.data);
	json_int_t	leaving = param_int(mark, "leaving", 0);
	json_int_t	coming = param_int(mark, "coming", 0);
	LayoutPhase phase = LAYOUT_WHOLE;

	for (LayoutPhase i = LAYOUT_HIDING; i <= LAYOUT_SWAP_IN; i++)
		if (strcmp(name, phase_names[i]) == 0)
			phase = i;
	json_decref(mark);
	if (phase == LAYOUT_WHOLE || here == 0 || here == coming || here == leaving)
		return phase;
	log_warning("the mark in \"%s/" WORK "\" is of another data directory than the one that is here now; it is removed",
				config->pg.data);
	layout_clean_up(ctx);
	return LAYOUT_WHOLE;
}

bool
layout_is_hidden(LayoutPhase phase)
{
	return phase == LAYOUT_HIDDEN || phase == LAYOUT_REWINDING || phase == LAYOUT_REWOUND;
}

bool
layout_same_boot(const AgentConfig *config)
{
	json_t	   *mark = read_mark(config);
	char		boot[BOOT_ID_MAX];
	bool		same;

	host_boot_id(boot, sizeof(boot));
	same = boot[0] != '\0' && strcmp(param_string(mark, "boot", ""), boot) == 0;
	json_decref(mark);
	return same;
}

unsigned
layout_rewind_timeline(const AgentConfig *config)
{
	json_t	   *mark = read_mark(config);
	unsigned	timeline = (unsigned) param_int(mark, "timeline", 0);

	json_decref(mark);
	return timeline;
}

/* ---- moving ---- */

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

/* One pass; the number that was moved, -1: the job failed. A folder that changes while it is read may hide an entry. */
static int
move_pass(ActionContext *ctx, const char *from, const char *to)
{
	DIR		   *dir = opendir(from);
	struct dirent *entry;
	int			moved = 0;

	if (!dir)
		return errno == ENOENT ? 0 : action_fail(ctx, STATE_IO_ERROR, "could not open \"%s\": %s", from, strerror(errno));
	errno = 0;
	while (moved >= 0 && (entry = readdir(dir)))
	{
		if (!stays(entry->d_name))
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
	const char *data = ctx->config->pg.data;
	int			rc = 0;

	for (int i = 0; rc == 0 && names[i]; i++)
	{
		char	   *place = layout_work(ctx->config, names[i]);

		if (identity(data) == 0 && identity(place) != 0)
			rc = move_one(ctx, place, data, VERSION_FILE);
		free(place);
	}
	if (rc == 0 && file_fsync_path(data) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", data, strerror(errno));
	if (rc == 0)
		remove_mark(ctx->config);
	return rc;
}

/* From here on no server starts in `from`. */
static int
move_out(ActionContext *ctx, const char *from, const char *to)
{
	int			rc = make_directory(to, 0700);

	if (rc < 0)
		return action_fail(ctx, STATE_IO_ERROR, "could not create \"%s\": %s", to, strerror(errno));
	rc = move_one(ctx, from, to, VERSION_FILE);
	if (rc == 0 && file_fsync_path(from) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not sync \"%s\": %s", from, strerror(errno));
	/* from here on none starts; one that has started since the stop is let be */
	if (rc == 0 && !postmaster_gone(from) && (rc = layout_give_back(ctx)) == 0)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the server was started meanwhile");
	return rc == 0 ? move_all(ctx, from, to) : -1;
}

/* Only behind the last rename a server can start in `to`. */
static int
move_in(ActionContext *ctx, const char *from, const char *to)
{
	int			rc = move_all(ctx, from, to);

	if (rc == 0)
		rc = move_one(ctx, from, to, VERSION_FILE);
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

int
layout_note(ActionContext *ctx, LayoutPhase phase, unsigned timeline)
{
	char	   *hidden = layout_work(ctx->config, "hidden");
	json_int_t	id = identity(hidden);

	free(hidden);
	return write_mark(ctx, phase, 0, id, json_pack("{s:i}", "timeline", (int) timeline));
}

static int
hide(ActionContext *ctx)
{
	char	   *hidden = layout_work(ctx->config, "hidden");
	int			rc = move_out(ctx, ctx->config->pg.data, hidden);

	free(hidden);
	return rc == 0 ? layout_note(ctx, LAYOUT_HIDDEN, 0) : -1;
}

static int
show(ActionContext *ctx)
{
	char	   *hidden = layout_work(ctx->config, "hidden");
	int			rc = move_in(ctx, hidden, ctx->config->pg.data);

	if (rc == 0)
	{
		remove_mark(ctx->config);
		remove_emptied(hidden);
	}
	free(hidden);
	return rc;
}

/* Looked at once more: what was mounted since would stop the move in its middle. */
static int
check_movable(ActionContext *ctx)
{
	char	   *problem = layout_problem(ctx->config);
	int			rc = 0;

	if (problem)
		rc = action_fail(ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the data directory cannot be moved: %s", problem);
	free(problem);
	return rc;
}

/* What could not be hidden is whole again, for who comes next. */
int
layout_hide(ActionContext *ctx)
{
	json_int_t	id = identity(ctx->config->pg.data);
	int			rc = check_movable(ctx);

	if (rc < 0 || layout_make_work(ctx) < 0 || write_mark(ctx, LAYOUT_HIDING, id, id, json_object()) < 0)
		return -1;
	rc = hide(ctx);
	if (rc < 0 && layout_phase(ctx) == LAYOUT_HIDING && postmaster_gone(ctx->config->pg.data))
		show(ctx);
	return rc;
}

int
layout_show(ActionContext *ctx)
{
	char	   *hidden = layout_work(ctx->config, "hidden");
	json_int_t	id = identity(hidden);

	free(hidden);
	return write_mark(ctx, LAYOUT_SHOWING, id, id, json_object()) < 0 ? -1 : show(ctx);
}

static int
swap_part(ActionContext *ctx, const LayoutPart *part, bool in)
{
	char	   *place = layout_part_work(part, in ? "new" : "old");
	int			rc = 0;

	if (in)
		rc = move_all(ctx, place, part->path);
	else if (make_directory(place, 0700) < 0)
		rc = action_fail(ctx, STATE_IO_ERROR, "could not create \"%s\": %s", place, strerror(errno));
	else
		rc = move_all(ctx, part->path, place);
	free(place);
	return rc;
}

static int
swap_out(ActionContext *ctx, const Layout *layout)
{
	char	   *old = layout_work(ctx->config, "old");
	int			rc = move_out(ctx, ctx->config->pg.data, old);

	for (int i = 0; rc == 0 && i < layout->n_parts; i++)
		rc = swap_part(ctx, &layout->parts[i], false);
	free(old);
	return rc;
}

static int
swap_in(ActionContext *ctx, const Layout *layout)
{
	char	   *fresh = layout_work(ctx->config, "new");
	int			rc = 0;

	for (int i = 0; rc == 0 && i < layout->n_parts; i++)
		rc = swap_part(ctx, &layout->parts[i], true);
	if (rc == 0)
		rc = move_in(ctx, fresh, ctx->config->pg.data);
	if (rc == 0)
	{
		remove_mark(ctx->config);
		remove_emptied(fresh);
	}
	free(fresh);
	return rc;
}

static int
swap_from(ActionContext *ctx, LayoutPhase phase, const Layout *layout)
{
	char	   *fresh = layout_work(ctx->config, "new");
	json_int_t	coming = identity(fresh);
	json_int_t	leaving = identity(ctx->config->pg.data);
	int			rc = 0;

	free(fresh);
	if (phase == LAYOUT_SWAP_OUT)
	{
		rc = write_mark(ctx, LAYOUT_SWAP_OUT, leaving, coming, parts_json(layout));
		if (rc == 0)
			rc = swap_out(ctx, layout);
		if (rc == 0)
			rc = write_mark(ctx, LAYOUT_SWAP_IN, leaving, coming, parts_json(layout));
	}
	return rc == 0 ? swap_in(ctx, layout) : -1;
}

int
layout_swap(ActionContext *ctx, const Layout *layout)
{
	if (layout_phase(ctx) == LAYOUT_WHOLE && check_movable(ctx) < 0)
		return -1;
	return swap_from(ctx, LAYOUT_SWAP_OUT, layout);
}

/*
 * Hiding is taken back: nothing was changed yet. What is hidden stays so: pg_rewind may have begun, and whoever comes
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
	mark = read_mark(ctx->config);
	parts_from(mark, ctx->config, &layout);
	rc = swap_from(ctx, phase, &layout);
	layout_free(&layout);
	json_decref(mark);
	return rc;
}

/* An array of parts, as in the mark */
static json_t *
noted_parts(const AgentConfig *config)
{
	json_t	   *parts = read_work(config, "parts", NULL);

	if (json_is_array(parts))
		return parts;
	json_decref(parts);
	return json_array();
}

int
layout_note_parts(ActionContext *ctx, const Layout *layout)
{
	char	   *path = layout_work(ctx->config, "parts");
	json_t	   *all = noted_parts(ctx->config); /* of an earlier try, which may have had others */
	json_t	   *present = parts_json(layout);
	json_t	   *part;
	size_t		i;
	char	   *text;
	int			rc;

	json_array_foreach(json_object_get(present, "parts"), i, part)
	{
		bool		known = false;

		for (size_t j = 0; j < json_array_size(all); j++)
			known |= json_equal(json_array_get(all, j), part) != 0;
		if (!known)
			json_array_append(all, part);
	}
	text = json_dumps(all, JSON_COMPACT);
	rc = text ? file_write_atomic(path, text, strlen(text), 0600, true) : -1;
	if (rc < 0)
		action_fail(ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path,
					text ? strerror(errno) : "a path is not UTF-8");
	free(text);
	json_decref(present);
	json_decref(all);
	free(path);
	return rc;
}

static void
remove_beside(const LayoutPart *part)
{
	static const char *const names[] = {"new", "old", NULL};

	for (int i = 0; names[i]; i++)
	{
		char	   *path = layout_part_work(part, names[i]);

		if (remove_tree(path) < 0)
			log_warning("could not remove \"%s\": %s", path, strerror(errno));
		free(path);
	}
}

void
layout_clean_up(ActionContext *ctx)
{
	char	   *work = layout_work(ctx->config, "");
	json_t	   *noted = noted_parts(ctx->config);
	json_t	   *one;
	size_t		n;
	Layout		layout;

	json_array_foreach(noted, n, one)
		if (json_is_string(json_object_get(one, "path")))
			remove_beside(&(LayoutPart) {NULL, (char *) json_string_value(json_object_get(one, "path"))});
	json_decref(noted);
	if (layout_read(ctx, ctx->config->pg.data, &layout) == 0)
	{
		for (int i = 0; i < layout.n_parts; i++)
			remove_beside(&layout.parts[i]);
		layout_free(&layout);
	}
	else
		action_forget_error(ctx);
	remove_mark(ctx->config);
	work[strlen(work) - 1] = '\0';
	if (remove_tree(work) < 0)
		log_warning("could not remove \"%s\": %s", work, strerror(errno));
	free(work);
}
