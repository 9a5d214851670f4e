/*
 * boot.c
 *		Which of two servers starts with the host.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/core/text.h"
#include "agent/pg/paths.h"
#include "agent/upgrade/boot.h"
#include "common/sqlstate.h"

#define START_CONF "start.conf"
#define START_CONF_MAX (64 * 1024)
#define FILE_MODE 0644			/* Debian's tools of all users read it */
#define DEFAULT_TEXT "auto\n"	/* what they take a missing file for */
#define BEFORE "#pg_pingpong# "
#define OURS "manual # pg_pingpong: "

/* ---- text ---- */

/* The length of a line with its newline. */
static size_t
line_length(const char *line)
{
	size_t		length = strcspn(line, "\n");

	return line[length] ? length + 1 : length;
}

static bool
begins_with(const char *line, const char *prefix)
{
	return strncmp(line, prefix, strlen(prefix)) == 0;
}

static bool
is_ours(const char *text)
{
	for (const char *line = text; *line; line += line_length(line))
		if (begins_with(line, OURS))
			return true;
	return false;
}

static bool
says_nothing(const char *line)
{
	line += strspn(line, " \t\r");
	return !*line || *line == '\n' || *line == '#';
}

char *
boot_text_left(const char *text, const char *run)
{
	Text		out = {0};

	if (is_ours(text))
		return xstrdup(text);
	for (const char *line = text; *line; line += line_length(line))
	{
		if (!says_nothing(line))
			text_add(&out, BEFORE, strlen(BEFORE));
		text_add(&out, line, line_length(line));
	}
	if (out.size > 0 && out.data[out.size - 1] != '\n')
		text_add(&out, "\n", 1);
	text_addf(&out, OURS "by run %s another server has its place, and its port\n", run);
	return out.data;
}

char *
boot_text_taken(const char *text)
{
	Text		out = {0};

	if (!is_ours(text))
		return xstrdup(text);
	text_add(&out, "", 0);
	for (const char *line = text; *line; line += line_length(line))
	{
		size_t		skip = begins_with(line, BEFORE) ? strlen(BEFORE) : 0;

		if (!begins_with(line, OURS))
			text_add(&out, line + skip, line_length(line) - skip);
	}
	return out.data;
}

/* ---- files ---- */

/* malloc'd; NULL with errno */
static char *
read_conf(const PgInstance *pg)
{
	char	   *path = config_path(pg, START_CONF);
	char	   *text = file_read(path, START_CONF_MAX, NULL);
	int			reason = errno;

	free(path);
	errno = reason;
	return text || reason != ENOENT ? text : xstrdup(DEFAULT_TEXT);
}

static int
write_conf(const PgInstance *pg, const char *text)
{
	char	   *path = config_path(pg, START_CONF);
	int			rc = file_write_atomic(path, text, strlen(text), FILE_MODE, true);

	free(path);
	return rc;
}

/* A cluster that somebody has dropped has nothing to be started. */
static bool
is_cluster(const PgInstance *pg)
{
	char	   *path = config_path(pg, "postgresql.conf");
	bool		is_there = config_is_elsewhere(pg) && file_exists(path);

	free(path);
	return is_there;
}

bool
boot_is_left(const PgInstance *pg)
{
	char	   *text = config_is_elsewhere(pg) ? read_conf(pg) : NULL;
	bool		left = text && is_ours(text);

	free(text);
	return left;
}

int
boot_prepare(const PgInstance *old, const PgInstance *new, const char *run)
{
	char	   *text = config_is_elsewhere(old) ? read_conf(old) : xstrdup(DEFAULT_TEXT);
	char	   *before = text ? boot_text_taken(text) : NULL;
	char	   *after = before ? boot_text_left(before, run) : NULL;
	int			rc = after ? write_conf(new, after) : -1;

	free(after);
	free(before);
	free(text);
	return rc;
}

/* `run`: who has its place; NULL: it has it again. */
static void
rewrite(const PgInstance *pg, const char *run)
{
	char	   *text;
	char	   *changed;

	if (!is_cluster(pg))
		return;
	text = read_conf(pg);
	changed = !text ? NULL : run ? boot_text_left(text, run) : boot_text_taken(text);
	if (!changed || (strcmp(text, changed) != 0 && write_conf(pg, changed) < 0))
		log_error("upgrade: could not change \"" START_CONF "\" of cluster %s: %s", pg->cluster, strerror(errno));
	free(changed);
	free(text);
}

void
boot_leave(const PgInstance *from, const char *run)
{
	rewrite(from, run);
}

void
boot_take(const PgInstance *to)
{
	rewrite(to, NULL);
}

int
boot_move(ActionContext *ctx, const PgInstance *from, const PgInstance *to)
{
	const PgInstance *wrong;

	boot_leave(from, ctx->run);
	boot_take(to);
	wrong = is_cluster(from) && !boot_is_left(from) ? from : boot_is_left(to) ? to : NULL;
	return !wrong ? 0 : action_fail(ctx, STATE_IO_ERROR, "which server starts with the host could not be written: "
									"\"" START_CONF "\" of cluster %s", wrong->cluster);
}
