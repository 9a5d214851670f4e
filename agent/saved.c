/*
 * saved.c
 *		The node's own files (settings, authentication, keys): saved before a rewind or a base
 *		backup, which bring the source's, and put back afterwards.
 *
 * They stand in state_dir/saved until the server streams.  A file "complete" tells that
 * all were saved: a resumed job must not save what the source has overwritten already.
 */
#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "agent/rejoin.h"

static const char *const own_files[] = {
	"postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf",
	"server.crt", "server.key", "root.crt", "root.crl", "pingpong.seal", NULL
};

static char *
saved_directory(Rejoin *rejoin)
{
	return xasprintf("%s/saved", rejoin->config->state_dir);
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
			rc = file_copy(source, target);
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
copy_all(Rejoin *rejoin, const char *from, const char *to, bool with_seal)
{
	char	  **keep = rejoin->config->pg.keep;
	int			rc = 0;

	for (int i = 0; rc == 0 && own_files[i]; i++)
		if (with_seal || strcmp(own_files[i], "pingpong.seal") != 0)
			rc = copy_one(rejoin, from, to, own_files[i]);
	for (int i = 0; rc == 0 && keep && keep[i]; i++)
		rc = copy_one(rejoin, from, to, keep[i]);
	if (rc == 0)
		rc = copy_folder(rejoin, from, to, "conf.d");
	return rc;
}

int
saved_take(Rejoin *rejoin, const char *data)
{
	char	   *directory = saved_directory(rejoin);
	char	   *complete = xasprintf("%s/complete", directory);
	int			rc = 0;

	if (!file_exists(complete))
	{
		remove_tree(directory);
		rc = copy_all(rejoin, data, directory, true);
		if (rc == 0 && file_write_atomic(complete, "", 0, 0600, true) < 0)
			rc = action_fail(rejoin->ctx, STATE_IO_ERROR, "could not write \"%s\": %s", complete, strerror(errno));
	}
	free(complete);
	free(directory);
	return rc;
}

/* Not the seal: a rewound directory lives on the source's timeline, where it says nothing. */
int
saved_put_back(Rejoin *rejoin, const char *data)
{
	char	   *directory = saved_directory(rejoin);
	int			rc = copy_all(rejoin, directory, data, false);

	free(directory);
	return rc;
}

void
saved_forget(Rejoin *rejoin)
{
	char	   *directory = saved_directory(rejoin);
	char	   *complete = xasprintf("%s/complete", directory);

	/* this one first: half a set without it is made anew, half a set with it would be put back */
	remove_tree(complete);
	remove_tree(directory);
	free(complete);
	free(directory);
}
