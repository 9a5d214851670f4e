/*
 * rewind.c
 *		Ways back for a server that has written past the fork: pg_rewind, base backup.
 *
 * While pg_rewind works, the directory is neither the old server nor the new one, and if
 * it were started then, it could come up as a primary.  So it is renamed for that time:
 * nobody who starts servers by their usual path finds it.  A base backup goes into a
 * folder of its own and the two are swapped by renames; what was there before goes away
 * when the new one streams.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/child.h"
#include "agent/control.h"
#include "agent/rejoin.h"
#include "agent/text.h"

#define SUFFIX_REWIND ".pingpong-rewind"
#define SUFFIX_NEW ".pingpong-new"
#define SUFFIX_OLD ".pingpong-old"

static char *
beside(Rejoin *rejoin, const char *suffix)
{
	return xasprintf("%s%s", rejoin->config->pg.data, suffix);
}

static int
fail_rename(Rejoin *rejoin, const char *from, const char *to, int reason)
{
	action_fail(rejoin->ctx, STATE_IO_ERROR, "could not rename \"%s\" to \"%s\": %s", from, to, strerror(reason));
	if (reason == EBUSY || reason == EXDEV)
		action_hint(rejoin->ctx, "The data directory is a mount point; let it be a folder inside of it.");
	else if (reason == EACCES || reason == EPERM || reason == EROFS)
		action_hint(rejoin->ctx, "The agent must be allowed to write in the folder that the data directory is in.");
	return -1;
}

static int
rename_durably(Rejoin *rejoin, const char *from, const char *to)
{
	char	   *copy = xstrdup(to);
	int			rc = rename(from, to);

	if (rc < 0)
		rc = fail_rename(rejoin, from, to, errno);
	else
		file_fsync_path(dirname(copy));
	free(copy);
	return rc;
}

/* What a rename of the data directory would tell, before hours go into a copy that cannot take its place. */
static int
check_movable(Rejoin *rejoin)
{
	const char *data = rejoin->config->pg.data;
	char	   *copy = xstrdup(data);
	const char *parent = dirname(copy);
	char	   *target = beside(rejoin, SUFFIX_OLD);
	struct stat inner;
	struct stat outer;
	int			rc = 0;

	if (access(parent, W_OK | X_OK) < 0)
		rc = fail_rename(rejoin, data, target, errno);
	else if (lstat(data, &inner) == 0 && stat(parent, &outer) == 0 && inner.st_dev != outer.st_dev)
		rc = fail_rename(rejoin, data, target, EBUSY);
	free(target);
	free(copy);
	return rc;
}

static bool
is_standby(const char *directory)
{
	char	   *path = xasprintf("%s/standby.signal", directory);
	bool		exists = file_exists(path);

	free(path);
	return exists;
}

/*
 * Interrupted between two renames there is no data directory: what was complete takes
 * its place.  The new one first, if the old one had been moved away for it.
 */
int
rejoin_repair_folders(Rejoin *rejoin)
{
	const char *data = rejoin->config->pg.data;
	char	   *rewound = beside(rejoin, SUFFIX_REWIND);
	char	   *fresh = beside(rejoin, SUFFIX_NEW);
	char	   *old = beside(rejoin, SUFFIX_OLD);
	int			rc = 0;

	if (!file_exists(data))
	{
		if (file_exists(old) && file_exists(fresh))
			rc = rename_durably(rejoin, fresh, data);
		else if (file_exists(old))
			rc = rename_durably(rejoin, old, data);
		else if (file_exists(rewound) && is_standby(rewound) && !rejoin_half_rewound(rejoin))
			rc = rename_durably(rejoin, rewound, data);
		/* else it was killed in pg_rewind: rejoin_by_rewind() goes on where it lies */
	}
	free(old);
	free(fresh);
	free(rewound);
	return rc;
}

void
rejoin_remove_leftovers(Rejoin *rejoin)
{
	static const char *const suffixes[] = {SUFFIX_NEW, SUFFIX_OLD, SUFFIX_REWIND, NULL};

	for (int i = 0; suffixes[i]; i++)
	{
		char	   *path = beside(rejoin, suffixes[i]);

		if (remove_tree(path) < 0)
			log_warning("could not remove \"%s\": %s", path, strerror(errno));
		free(path);
	}
	saved_forget(rejoin);
}

/* ---- progress of both programs: "12345/67890 kB (18%)" ---- */

static void
show_percent(void *argument, const char *data, size_t size)
{
	Rejoin	   *rejoin = argument;
	char		text[512];
	char	   *open;
	size_t		len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
	int			percent;

	memcpy(text, data + size - len, len);
	text[len] = '\0';
	open = strrchr(text, '(');
	if (open && sscanf(open, "(%d%%)", &percent) == 1)
		action_progress(rejoin->ctx, percent, "copying from %s:%s", rejoin->upstream.host, rejoin->upstream.port);
}

/*
 * Runs one of them against the source.  A password must not stand in an argument, which
 * everyone on the host can read; it goes into the child's environment.
 */
static int
run_tool(Rejoin *rejoin, char *const *argv, char *password)
{
	double		left = rejoin->deadline - clock_monotonic_ms();
	ChildOptions options = {.timeout_ms = left > 1000 ? (int) left : 1000, .on_output = show_percent,
	.argument = rejoin, .password = password};
	int			rc = child_run(rejoin->ctx, argv, &options);

	if (rc > 0)
	{
		action_fail(rejoin->ctx, STATE_EXTERNAL_ROUTINE, "\"%s\" ended with status %d", argv[0], rc);
		action_hint(rejoin->ctx, "See the output of the job.");
	}
	return rc == 0 ? 0 : -1;
}

/* ---- pg_rewind ---- */

static int
run_rewind(Rejoin *rejoin, char *directory)
{
	char	   *password = conninfo_get(rejoin->config->pg.rewind, "password");
	char	   *conninfo = conninfo_merge(rejoin->config->pg.rewind, NULL, rejoin->upstream.host,
										  rejoin->upstream.port, "pingpong-agent");
	char	   *bare = conninfo_without(conninfo, "password");
	char	   *source = xasprintf("--source-server=%s", bare);
	char	   *program = bin_path(rejoin->config, "pg_rewind");
	char	   *argv[] = {program, "-D", directory, source, "--progress", NULL};
	int			rc = run_tool(rejoin, argv, password);

	free(program);
	free(source);
	free(bare);
	free(conninfo);
	free(password);
	return rc;
}

static void
remove_standby_signal(const char *directory)
{
	char	   *path = xasprintf("%s/standby.signal", directory);

	remove_tree(path);
	free(path);
}

static char *
half_rewound_path(Rejoin *rejoin)
{
	return xasprintf("%s/rewinding", rejoin->config->state_dir);
}

bool
rejoin_half_rewound(Rejoin *rejoin)
{
	char	   *path = half_rewound_path(rejoin);
	bool		half = file_exists(path);

	free(path);
	return half;
}

void
rejoin_note_whole(Rejoin *rejoin)
{
	char	   *path = half_rewound_path(rejoin);

	if (remove_tree(path) == 0)
		file_fsync_path(rejoin->config->state_dir);
	free(path);
}

/*
 * From here until it is done the directory must not be started: a mark in state_dir says
 * so, since pg_rewind removes whatever the source does not have.
 */
static int
rewind_in(Rejoin *rejoin, char *place)
{
	char	   *mark = half_rewound_path(rejoin);
	int			rc = 0;

	if (file_write_atomic(mark, "", 0, 0600, true) < 0)
		rc = action_fail(rejoin->ctx, STATE_IO_ERROR, "could not write \"%s\": %s", mark, strerror(errno));
	free(mark);
	/* pg_rewind recovers in single-user mode, where a standby cannot be */
	if (rc == 0)
		remove_standby_signal(place);
	action_progress(rejoin->ctx, 0, "pg_rewind");
	if (rc == 0)
		rc = run_rewind(rejoin, place);
	if (rc == 0)
		rc = saved_put_back(rejoin, place);
	if (rc == 0)
		rc = standby_configure_offline(rejoin->ctx, place, &rejoin->upstream);
	if (rc == 0)
		rejoin_note_whole(rejoin);
	return rc;
}

/*
 * Never in place: killed in the middle, what lies there would start as a primary that is
 * not sealed. Where the directory cannot be renamed it stays as it was, standby.signal and all.
 */
static int
hide(Rejoin *rejoin, const char *hidden)
{
	const char *data = rejoin->config->pg.data;
	int			rc = saved_take(rejoin, data);

	remove_tree(hidden);		/* there is a whole one beside it */
	if (rc == 0)
	{
		rc = rename_durably(rejoin, data, hidden);
		if (rc < 0 && !rejoin_half_rewound(rejoin))
			saved_forget(rejoin);	/* nothing was overwritten: these would only grow old */
	}
	return rc;
}

int
rejoin_by_rewind(Rejoin *rejoin)
{
	char	   *data = rejoin->config->pg.data;
	char	   *hidden = beside(rejoin, SUFFIX_REWIND);
	int			rc = source_checkpoint(rejoin);

	if (rc == 0 && file_exists(data))
		rc = hide(rejoin, hidden);
	if (rc == 0 && file_exists(hidden))
	{
		rc = rewind_in(rejoin, hidden);
		if (rc == 0)			/* else it stays hidden: what is half rewound must not be started */
			rc = rename_durably(rejoin, hidden, data);
	}
	free(hidden);
	return rc;
}

/* ---- base backup ---- */

static bool
folder_empty(const char *path)
{
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	bool		empty = true;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			empty = false;
	if (dir)
		closedir(dir);
	return empty;
}

/* With parts outside of the data directory a swap of folders is not enough. */
static int
check_layout(Rejoin *rejoin)
{
	char	   *spaces = data_path(rejoin->config, "pg_tblspc");
	char	   *wal = data_path(rejoin->config, "pg_wal");
	struct stat st;
	int			rc = 0;

	if (!folder_empty(spaces))
		rc = action_fail(rejoin->ctx, "0A000", "a base backup by the agent cannot handle tablespaces");
	else if (lstat(wal, &st) == 0 && S_ISLNK(st.st_mode))
		rc = action_fail(rejoin->ctx, "0A000", "a base backup by the agent cannot handle pg_wal in another place");
	if (rc < 0)
		action_hint(rejoin->ctx, "Rebuild this node by hand with pg_basebackup.");
	free(wal);
	free(spaces);
	return rc;
}

/*
 * Not with our slot: the walsender of a killed predecessor may still hold it.  It keeps
 * the WAL all the same, and pg_basebackup takes a temporary one for its own stream.
 */
static int
run_basebackup(Rejoin *rejoin, char *directory)
{
	char	   *password = conninfo_get(rejoin->config->pg.replication, "password");
	char	   *conninfo = conninfo_merge(rejoin->config->pg.replication, NULL, rejoin->upstream.host,
										  rejoin->upstream.port, "pingpong-agent");
	char	   *bare = conninfo_without(conninfo, "password");
	char	   *program = bin_path(rejoin->config, "pg_basebackup");
	char	   *argv[] = {program, "-D", directory, "-d", bare, "-X", "stream", "-c", "fast", "-P", "-w", NULL};
	int			rc = run_tool(rejoin, argv, password);

	free(program);
	free(bare);
	free(conninfo);
	free(password);
	return rc;
}

static int
swap_folders(Rejoin *rejoin, const char *fresh)
{
	const char *data = rejoin->config->pg.data;
	char	   *old = beside(rejoin, SUFFIX_OLD);
	int			rc = 0;

	if (file_exists(old))
		remove_tree(old);		/* of an earlier rebuild, whose server streamed since */
	if (file_exists(data))
		rc = rename_durably(rejoin, data, old);
	if (rc == 0)
		rc = rename_durably(rejoin, fresh, data);
	free(old);
	return rc;
}

int
rejoin_by_basebackup(Rejoin *rejoin)
{
	char	   *fresh = beside(rejoin, SUFFIX_NEW);
	int			rc = check_layout(rejoin);

	if (rc == 0)
		rc = check_movable(rejoin);
	if (rc == 0 && file_exists(rejoin->config->pg.data))
		rc = saved_take(rejoin, rejoin->config->pg.data);
	remove_tree(fresh);
	action_progress(rejoin->ctx, 0, "pg_basebackup");
	if (rc == 0)
		rc = run_basebackup(rejoin, fresh);
	if (rc == 0)
		rc = saved_put_back(rejoin, fresh);
	if (rc == 0)
		rc = standby_configure_offline(rejoin->ctx, fresh, &rejoin->upstream);
	if (rc == 0)
		rc = swap_folders(rejoin, fresh);
	if (rc < 0 && file_exists(rejoin->config->pg.data))
		remove_tree(fresh);		/* else it is the only one that can take its place */
	if (rc == 0)
		rejoin_note_whole(rejoin);
	free(fresh);
	return rc;
}
