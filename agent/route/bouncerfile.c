/*
 * bouncerfile.c
 *		The file of PgBouncer that the agent changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/core/log.h"
#include "agent/route/bouncerfile.h"

#define FILE_MAX (1024 * 1024)
#define ACL "system.posix_acl_access"
#define ACL_MAX 4096

static int
fail(char *why, size_t why_size, const char *what, const char *path)
{
	snprintf(why, why_size, "could not %s \"%s\": %s", what, path, strerror(errno));
	return -1;
}

/* Where the file itself is, malloc'd; NULL: it is not there. */
static char *
real_path(const char *path, char *why, size_t why_size)
{
	char	   *real = realpath(path, NULL);

	if (!real)
		fail(why, why_size, "find", path);
	return real;
}

/* Beside the file, but hidden: PgBouncer includes files by name, and a person's *.ini does not match it. */
static char *
name_beside(const char *real, const char *suffix)
{
	const char *base = strrchr(real, '/') + 1;

	return xasprintf("%.*s.%s.%s", (int) (base - real), real, base, suffix);
}

int
bouncer_file_read(const char *path, char **text, char *why, size_t why_size)
{
	size_t		size = 0;
	struct stat st;

	*text = file_read(path, FILE_MAX, &size);
	if (!*text && errno == EFBIG && stat(path, &st) == 0)
	{
		snprintf(why, why_size, "\"%s\" is not a file of at most %d bytes", path, FILE_MAX);
		return -1;
	}
	if (!*text)
		return fail(why, why_size, "read", path);
	if (strlen(*text) == size)
		return 0;
	free(*text);
	*text = NULL;
	snprintf(why, why_size, "\"%s\" holds a zero byte, so PgBouncer does not read it to its end", path);
	return -1;
}

/* A file that we made belongs to us; with another owner those that edit or read the file could not do so any more. */
static int
keep_owner(int fd, const struct stat *old, const char *path, char *why, size_t why_size)
{
	struct stat new;

	if (fstat(fd, &new) == 0 && new.st_uid == old->st_uid && new.st_gid == old->st_gid)
		return 0;
	if (fchown(fd, old->st_uid, old->st_gid) == 0)
		return 0;
	snprintf(why, why_size, "the owner of \"%s\" (user %d, group %d) cannot be kept: %s", path, (int) old->st_uid,
			 (int) old->st_gid, strerror(errno));
	return -1;
}

static bool
in_group(gid_t wanted)
{
	gid_t		groups[256];
	int			n = getgroups(256, groups);

	for (int i = 0; i < n; i++)
		if (groups[i] == wanted)
			return true;
	return wanted == getegid();
}

int
bouncer_file_check(const char *path, char *why, size_t why_size)
{
	char	   *real = real_path(path, why, why_size);
	char	   *copy = real ? xstrdup(real) : NULL;
	struct stat st;
	int			rc = -1;

	if (!real)
		return -1;
	if (stat(real, &st) < 0 || access(real, R_OK) < 0)
		fail(why, why_size, "read", real);
	else if (access(dirname(copy), W_OK | X_OK) < 0)
		fail(why, why_size, "create a file beside", real);
	else if (geteuid() != 0 && (st.st_uid != geteuid() || !in_group(st.st_gid)))
		snprintf(why, why_size, "the owner of \"%s\" (user %d, group %d) cannot be kept by user %d", real,
				 (int) st.st_uid,
				 (int) st.st_gid, (int) geteuid());
	else
		rc = 0;
	free(copy);
	free(real);
	return rc;
}

static int
keep_acl(int fd, const char *real)
{
	char		acl[ACL_MAX];
	ssize_t		size = getxattr(real, ACL, acl, sizeof(acl));

	if (size < 0)
		return errno == ENODATA || errno == ENOTSUP ? 0 : -1;
	return fsetxattr(fd, ACL, acl, size, 0);
}

static int
write_like(const char *real, const char *path, const char *text, char *why, size_t why_size)
{
	struct stat old;
	int			fd;
	int			rc = -1;

	unlink(path);				/* of an earlier run of the agent */
	if (stat(real, &old) < 0)
		return fail(why, why_size, "look at", real);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return fail(why, why_size, "create", path);
	if (keep_owner(fd, &old, real, why, why_size) == 0)
	{
		rc = fchmod(fd, old.st_mode & 07777);
		if (rc == 0)
			rc = keep_acl(fd, real);
		if (rc == 0)
			rc = file_write_all(fd, text, strlen(text));
		if (rc == 0)
			rc = fsync(fd);
		if (rc < 0)
			fail(why, why_size, "write", path);
	}
	if (close(fd) < 0 && rc == 0)
		rc = fail(why, why_size, "write", path);
	if (rc < 0)
		unlink(path);
	return rc;
}

int
bouncer_file_stage(const char *path, const char *text, char *why, size_t why_size)
{
	char	   *real = real_path(path, why, why_size);
	char	   *staged = real ? name_beside(real, "pingpong-next") : NULL;
	int			rc = real ? write_like(real, staged, text, why, why_size) : -1;

	free(staged);
	free(real);
	return rc;
}

int
bouncer_file_swap(const char *path, char *why, size_t why_size)
{
	char	   *real = real_path(path, why, why_size);
	char	   *staged = real ? name_beside(real, "pingpong-next") : NULL;
	int			rc = real ? rename(staged, real) : -1;

	if (real && rc < 0)
		fail(why, why_size, "replace", real);
	free(staged);
	free(real);
	return rc;
}

void
bouncer_file_discard(const char *path)
{
	char	   *real = realpath(path, NULL);
	char	   *staged = real ? name_beside(real, "pingpong-next") : NULL;

	if (staged && unlink(staged) < 0 && errno != ENOENT)
		log_warning("could not remove \"%s\": %s", staged, strerror(errno));
	free(staged);
	free(real);
}

int
bouncer_file_sync(const char *path, char *why, size_t why_size)
{
	char	   *real = real_path(path, why, why_size);
	int			rc = -1;

	if (!real)
		return -1;
	if (file_fsync_path(real) == 0)
		rc = file_fsync_path(dirname(real));
	if (rc < 0)
		fail(why, why_size, "sync", path);
	free(real);
	return rc;
}

int
bouncer_file_replace(const char *path, const char *text, char *why, size_t why_size)
{
	char	   *real = real_path(path, why, why_size);
	char	   *temporary = real ? name_beside(real, "pingpong-new") : NULL;
	int			rc = real ? write_like(real, temporary, text, why, why_size) : -1;

	if (rc == 0 && (rc = rename(temporary, real)) < 0)
	{
		fail(why, why_size, "replace", real);
		unlink(temporary);
	}
	free(temporary);
	free(real);
	return rc;
}
