/*
 * layout_mark.c
 *		The mark in the work folder: what was begun with the data directory, and where its parts are.
 */
#include <errno.h>
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
#include "agent/pg/layout_mark.h"
#include "common/sqlstate.h"

#define BOOT_ID_MAX 64

static const char *const phase_names[] = {"whole", "hiding", "hidden", "rewinding", "rewound", "showing", "swap_out",
"swap_in"};

/* A directory is known by its PG_VERSION, which is a new file in a copy; 0: there is none. */
json_int_t
layout_identity(const char *data)
{
	char	   *path = xasprintf("%s/" LAYOUT_VERSION_FILE, data);
	struct stat st;
	json_int_t	id = lstat(path, &st) == 0 ? (json_int_t) st.st_ino : 0;

	free(path);
	return id;
}

/* A file in the work folder; NULL, with *trouble (malloc'd) if it is there and says nothing. */
static json_t *
read_work(const PgInstance *pg, const char *name, char **trouble)
{
	char	   *path = layout_work(pg, name);
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

json_t *
layout_read_mark(const PgInstance *pg)
{
	return read_work(pg, "phase", NULL);
}

int
layout_check_mark(ActionContext *ctx)
{
	char	   *trouble = NULL;

	json_decref(read_work(ctx->pg, "phase", &trouble));
	if (!trouble)
		return 0;
	action_fail(ctx, STATE_IO_ERROR, "%s", trouble);
	free(trouble);
	return -1;
}

/* `coming` is the identity of the directory that will be in DATA at the end of the phase. Takes `more` over. */
int
layout_write_mark(ActionContext *ctx, LayoutPhase phase, json_int_t leaving, json_int_t coming, json_t *more)
{
	char	   *path = layout_work(ctx->pg, "phase");
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

void
layout_remove_mark(const PgInstance *pg)
{
	char	   *path = layout_work(pg, "phase");
	char	   *work = layout_work(pg, "");

	if (unlink(path) == 0)
		file_fsync_path(work);
	free(work);
	free(path);
}

bool
layout_is_hidden(LayoutPhase phase)
{
	return phase == LAYOUT_HIDDEN || phase == LAYOUT_REWINDING || phase == LAYOUT_REWOUND;
}

bool
layout_same_boot(const PgInstance *pg)
{
	json_t	   *mark = layout_read_mark(pg);
	char		boot[BOOT_ID_MAX];
	bool		same;

	host_boot_id(boot, sizeof(boot));
	same = boot[0] != '\0' && strcmp(param_string(mark, "boot", ""), boot) == 0;
	json_decref(mark);
	return same;
}

int
layout_note(ActionContext *ctx, LayoutPhase phase, unsigned timeline)
{
	char	   *hidden = layout_work(ctx->pg, "hidden");
	json_int_t	id = layout_identity(hidden);

	free(hidden);
	return layout_write_mark(ctx, phase, 0, id, json_pack("{s:i}", "timeline", (int) timeline));
}

unsigned
layout_rewind_timeline(const PgInstance *pg)
{
	json_t	   *mark = layout_read_mark(pg);
	unsigned	timeline = (unsigned) param_int(mark, "timeline", 0);

	json_decref(mark);
	return timeline;
}

/* ---- the parts ---- */

json_t *
layout_parts_json(const Layout *layout)
{
	json_t	   *parts = json_array();

	for (int i = 0; i < layout->n_parts; i++)
		json_array_append_new(parts,
							  json_pack("{s:s, s:s}", "link", layout->parts[i].link, "path", layout->parts[i].path));
	return json_pack("{s:o}", "parts", parts);
}

void
layout_parts_from(json_t *mark, const PgInstance *pg, Layout *layout)
{
	json_t	   *part;
	size_t		i;

	memset(layout, 0, sizeof(*layout));
	layout->data = xstrdup(pg->data);
	json_array_foreach(json_object_get(mark, "parts"), i, part)
		if (i < LAYOUT_PARTS_MAX)
			layout->parts[layout->n_parts++] =
				(LayoutPart) {xstrdup(param_string(part, "link", "")),
							  xstrdup(param_string(part, "path", "/nonexistent"))};
}

/* An array of parts, as in the mark */
static json_t *
noted_parts(const PgInstance *pg)
{
	json_t	   *parts = read_work(pg, "parts", NULL);

	if (json_is_array(parts))
		return parts;
	json_decref(parts);
	return json_array();
}

int
layout_note_parts(ActionContext *ctx, const Layout *layout)
{
	char	   *path = layout_work(ctx->pg, "parts");
	json_t	   *all = noted_parts(ctx->pg); /* of an earlier try, which may have had others */
	json_t	   *present = layout_parts_json(layout);
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

/* ---- the end of the work ---- */

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
	char	   *work = layout_work(ctx->pg, "");
	json_t	   *noted = noted_parts(ctx->pg);
	json_t	   *one;
	size_t		n;
	Layout		layout;

	json_array_foreach(noted, n, one)
		if (json_is_string(json_object_get(one, "path")))
			remove_beside(&(LayoutPart) {NULL, (char *) json_string_value(json_object_get(one, "path"))});
	json_decref(noted);
	if (layout_read(ctx, ctx->pg->data, &layout) == 0)
	{
		for (int i = 0; i < layout.n_parts; i++)
			remove_beside(&layout.parts[i]);
		layout_free(&layout);
	}
	else
		action_forget_error(ctx);
	layout_remove_mark(ctx->pg);
	work[strlen(work) - 1] = '\0';
	if (remove_tree(work) < 0)
		log_warning("could not remove \"%s\": %s", work, strerror(errno));
	free(work);
}

LayoutPhase
layout_phase(ActionContext *ctx)
{
	const PgInstance *pg = ctx->pg;
	json_t	   *mark = layout_read_mark(pg);
	const char *name = param_string(mark, "phase", "");
	json_int_t	here = layout_identity(pg->data);
	json_int_t	leaving = param_int(mark, "leaving", 0);
	json_int_t	coming = param_int(mark, "coming", 0);
	LayoutPhase phase = LAYOUT_WHOLE;

	for (LayoutPhase i = LAYOUT_HIDING; i <= LAYOUT_SWAP_IN; i++)
		if (strcmp(name, phase_names[i]) == 0)
			phase = i;
	json_decref(mark);
	if (phase == LAYOUT_WHOLE || here == 0 || here == coming || here == leaving)
		return phase;
	log_warning("the mark in \"%s/" LAYOUT_WORK "\" is of another data directory than the one "
				"that is here now; it is "
				"removed", pg->data);
	layout_clean_up(ctx);
	return LAYOUT_WHOLE;
}
