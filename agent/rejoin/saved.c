/*
 * saved.c
 *		The node's own files (settings, authentication, keys). They are saved before a rewind or a base backup, which
 *		bring those of the source, and restored afterwards.
 *
 * They are in the work folder of the data directory, so that they move with it. While the directory is hidden they
 * are not saved again, because pg_rewind may have brought the source's by then. A file of this kind that the node did
 * not have is removed when they are restored: a conf.d/x.conf or a list of revoked certificates of the source is not
 * the node's. A node that had no data directory keeps what the source has.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/text.h"
#include "agent/job/action.h"
#include "agent/pg/formats.h"
#include "agent/pg/layout.h"
#include "agent/pg/paths.h"
#include "agent/rejoin/saved.h"
#include "common/sqlstate.h"

#define DEPTH_MAX 8				/* of folders in folders: more is no configuration */
#define CARRIED_MAX (1024 * 1024)
#define WHOLE ".whole"			/* in the folder: all that the node had is here */

static int	copy_entry(const char *source, const char *target);

/* A link stays a link: a key may be where others use it, too. */
static int
copy_link(const char *source, const char *target)
{
	char		place[PATH_MAX];
	ssize_t		len = readlink(source, place, sizeof(place) - 1);

	if (len < 0)
		return -1;
	place[len] = '\0';
	return symlink(place, target);
}

static int
copy_entries(DIR *dir, const char *source, const char *target)
{
	struct dirent *entry;
	int			rc = 0;

	while (rc == 0 && (errno = 0, entry = readdir(dir)))
	{
		char	   *from = xasprintf("%s/%s", source, entry->d_name);
		char	   *to = xasprintf("%s/%s", target, entry->d_name);

		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = copy_entry(from, to);
		free(to);
		free(from);
	}
	return rc < 0 || errno != 0 ? -1 : 0;
}

static int
copy_folder(const char *source, const char *target, const struct stat *st)
{
	DIR		   *dir = opendir(source);
	int			rc = dir ? mkdir(target, 0700) : -1;

	if (rc == 0)
		rc = copy_entries(dir, source, target);
	if (dir)
		closedir(dir);
	if (rc == 0)
		rc = chmod(target, st->st_mode & 07777);
	if (rc == 0 && geteuid() == 0)
		rc = chown(target, st->st_uid, st->st_gid);
	return rc == 0 ? file_fsync_path(target) : -1;
}

/* There is nothing at `target`. Sockets and the like are no files, and left out. */
static int
copy_entry(const char *source, const char *target)
{
	struct stat st;

	if (lstat(source, &st) < 0)
		return -1;
	if (S_ISLNK(st.st_mode))
		return copy_link(source, target);
	if (S_ISDIR(st.st_mode))
		return copy_folder(source, target, &st);
	return S_ISREG(st.st_mode) ? file_copy(source, target) : 0;
}

/*
 * from/name to to/name, in place of what is there, making folders. What is not there is left out, or with `mirror`
 * taken away there, too.
 */
static int
copy_one(Rejoin *rejoin, const char *from, const char *to, const char *name, bool mirror)
{
	char	   *source = xasprintf("%s/%s", from, name);
	char	   *target = xasprintf("%s/%s", to, name);
	char	   *parent = xstrdup(target);
	bool		exists = file_exists(source);
	int			rc = 0;

	if (exists || mirror)
		rc = remove_tree(target);
	if (rc == 0 && exists)
		rc = make_directory(dirname(parent), 0700);
	if (rc == 0 && exists)
		rc = copy_entry(source, target);
	if (rc < 0)
		action_fail(rejoin->ctx, STATE_IO_ERROR, "could not copy \"%s\" to \"%s\": %s", source, target,
					strerror(errno));
	free(parent);
	free(target);
	free(source);
	return rc;
}

/*
 * An upgrade has taken over the settings of the old server, and with them the files that they name in the data
 * directory, whatever their names are. `folder` has the node's settings, if they are not elsewhere.
 */
static void
add_carried(char ***names, const PgInstance *pg, const char *folder)
{
	static const char *const settings[] = {
		"ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_crl_file", "ssl_dh_params_file", NULL
	};
	char	   *path = config_is_elsewhere(pg) ? config_path(pg, "postgresql.conf") :
		xasprintf("%s/" CARRIED_FILE, folder);
	char	   *text = file_read(path, CARRIED_MAX, NULL);

	for (int i = 0; text && settings[i]; i++)
	{
		char	   *value = conf_value(text, settings[i]);

		if (value && *value && *value != '/' && !strstr(value, ".."))
			text_append(names, value);
		else
			free(value);
	}
	free(text);
	free(path);
}

/* The names of the node's own files and folders; `folder` has them, or is where they were saved. */
static char **
own_of(const Rejoin *rejoin, const char *folder)
{
	char	  **keep = rejoin->pg->keep;
	char	  **names = NULL;

	for (int i = 0; node_files[i]; i++)
		text_append(&names, xstrdup(node_files[i]));
	for (int i = 0; keep && keep[i]; i++)
		text_append(&names, xstrdup(keep[i]));
	add_carried(&names, rejoin->pg, folder);
	return names;
}

static int
copy_own(Rejoin *rejoin, const char *from, const char *to, bool mirror)
{
	char	  **names = own_of(rejoin, from);
	int			rc = 0;

	for (int i = 0; rc == 0 && names[i]; i++)
		rc = copy_one(rejoin, from, to, names[i], mirror);
	text_free_list(names);
	return rc;
}

static int
note_whole(Rejoin *rejoin, const char *directory)
{
	char	   *path = xasprintf("%s/" WHOLE, directory);
	char	   *work = xstrdup(directory);
	int			rc = file_write_atomic(path, "", 0, 0600, true);

	if (rc == 0)
		rc = file_fsync_path(dirname(work));
	if (rc < 0)
		action_fail(rejoin->ctx, STATE_IO_ERROR, "could not write \"%s\": %s", path, strerror(errno));
	free(work);
	free(path);
	return rc;
}

/* What file_copy() would say of it. */
static int
check_file(const char *path, const struct stat *st)
{
	if (st->st_size > FILE_COPY_MAX)
	{
		errno = EFBIG;
		return -1;
	}
	return access(path, R_OK);
}

/* 0, or -1 with errno, and the path in *where. */
static int
check_entry(const char *path, int depth, char **where)
{
	struct stat st;
	struct dirent *entry;
	DIR		   *dir = NULL;
	int			rc = lstat(path, &st);

	if (rc == 0 && S_ISREG(st.st_mode))
		rc = check_file(path, &st);
	else if (rc == 0 && S_ISDIR(st.st_mode))
	{
		errno = depth > DEPTH_MAX ? ELOOP : 0;
		dir = depth > DEPTH_MAX ? NULL : opendir(path);
		rc = dir ? 0 : -1;
	}
	if (rc < 0 && !*where)
		*where = xstrdup(path);
	while (rc == 0 && dir && (entry = readdir(dir)))
	{
		char	   *name = xasprintf("%s/%s", path, entry->d_name);

		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			rc = check_entry(name, depth + 1, where);
		free(name);
	}
	if (dir)
		closedir(dir);
	return rc;
}

static int
check_name(Rejoin *rejoin, const char *name)
{
	char	   *path = xasprintf("%s/%s", rejoin->pg->data, name);
	char	   *where = NULL;
	int			rc = file_exists(path) ? check_entry(path, 0, &where) : 0;

	if (rc < 0)
		action_fail(rejoin->ctx, STATE_NOT_IN_PREREQUISITE_STATE, "the node's own file \"%s\" cannot be saved: %s",
					where ? where : path, strerror(errno));
	free(where);
	free(path);
	return rc;
}

int
saved_check(Rejoin *rejoin)
{
	char	  **names;
	int			rc = 0;

	if (rejoin->facts.half_rewound)
		return 0;				/* they were saved before */
	names = own_of(rejoin, rejoin->pg->data);
	for (int i = 0; rc == 0 && names[i]; i++)
		rc = check_name(rejoin, names[i]);
	text_free_list(names);
	return rc;
}

int
saved_take(Rejoin *rejoin)
{
	const char *data = rejoin->pg->data;
	char	   *directory = layout_work(rejoin->pg, "saved");
	int			rc = layout_make_work(rejoin->ctx);

	if (rc == 0 && (remove_tree(directory) < 0 || make_directory(directory, 0700) < 0))
		rc = action_fail(rejoin->ctx, STATE_IO_ERROR, "could not make \"%s\" anew: %s", directory, strerror(errno));
	if (rc == 0)
		rc = copy_own(rejoin, data, directory, false);
	if (rc == 0 && file_exists_in(data, "PG_VERSION"))
		rc = note_whole(rejoin, directory);
	free(directory);
	return rc;
}

int
saved_put_back(Rejoin *rejoin, const char *data)
{
	char	   *directory = layout_work(rejoin->pg, "saved");
	int			rc = copy_own(rejoin, directory, data, file_exists_in(directory, WHOLE));

	free(directory);
	return rc;
}
