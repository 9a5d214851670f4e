/*
 * saved.c
 *		The node's own files (settings, authentication, keys): saved before a rewind or a base backup, which bring the
 *		source's, and put back afterwards.
 *
 * They stand in the work folder of the data directory, so that they go with it. While the directory is hidden they are
 * not taken again: pg_rewind may have brought the source's by then.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/rejoin.h"

static const char *const own_files[] = {
	"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf",
	"server.crt", "server.key", "root.crt", "root.crl", "postmaster.opts", NULL
};

/* A link stays a link: a key may lie where others find it, too. */
static int
copy_link(const char *source, const char *target)
{
	char		place[PATH_MAX];
	ssize_t		len = readlink(source, place, sizeof(place) - 1);

	if (len < 0)
		return -1;
	place[len] = '\0';
	remove_tree(target);
	return symlink(place, target);
}

static bool
is_link(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

/* Copies from/name to to/name, making folders; a file that is not there is left out. */
static int
copy_one(Rejoin *rejoin, const char *from, const char *to, const char *name)
{
	char	   *source = xasprintf("%s/%s", from, name);
	char	   *target = xasprintf("%s/%s", to, name);
	char	   *parent = xstrdup(target);
	int			rc = 0;

	if (file_exists(source))
	{
		rc = make_directory(dirname(parent), 0700);
		if (rc == 0)
			rc = is_link(source) ? copy_link(source, target) : file_copy(source, target);
		if (rc < 0)
			action_fail(rejoin->ctx, STATE_IO_ERROR, "could not copy \"%s\" to \"%s\": %s", source, target,
						strerror(errno));
	}
	free(parent);
	free(target);
	free(source);
	return rc;
}

static int
copy_folder(Rejoin *rejoin, const char *from, const char *to, const char *name)
{
	char	   *path = xasprintf("%s/%s", from, name);
	DIR		   *dir = opendir(path);
	struct dirent *entry;
	int			rc = 0;

	while (rc == 0 && dir && (entry = readdir(dir)))
	{
		char	   *file = xasprintf("%s/%s", name, entry->d_name);

		if (entry->d_name[0] != '.')
			rc = copy_one(rejoin, from, to, file);
		free(file);
	}
	if (dir)
		closedir(dir);
	free(path);
	return rc;
}

static int
copy_own(Rejoin *rejoin, const char *from, const char *to)
{
	char	  **keep = rejoin->config->pg.keep;
	int			rc = 0;

	for (int i = 0; rc == 0 && own_files[i]; i++)
		rc = copy_one(rejoin, from, to, own_files[i]);
	for (int i = 0; rc == 0 && keep && keep[i]; i++)
		rc = copy_one(rejoin, from, to, keep[i]);
	if (rc == 0)
		rc = copy_folder(rejoin, from, to, "conf.d");
	return rc;
}

int
saved_take(Rejoin *rejoin)
{
	char	   *directory = layout_work(rejoin->config, "saved");
	int			rc = layout_make_work(rejoin->ctx);

	remove_tree(directory);
	if (rc == 0)
		rc = copy_own(rejoin, rejoin->config->pg.data, directory);
	free(directory);
	return rc;
}

int
saved_put_back(Rejoin *rejoin, const char *data)
{
	char	   *directory = layout_work(rejoin->config, "saved");
	int			rc = copy_own(rejoin, directory, data);

	free(directory);
	return rc;
}
