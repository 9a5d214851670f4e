/*
 * place.c
 *		Files of the set-up: written whole, with their owner and mode, and never over another one.
 *
 * A file is written under another name, given to its owner, synced, and only then gets its name: by link(), which
 * fails where there is one, or by rename() where one is to be replaced. So nobody sees a half of it, or a key that
 * others may read.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"
#include "agent/init/place.h"
#include "agent/init/say.h"

#define PLACE_MAX (4 * 1024 * 1024)

typedef struct Wanted
{
	mode_t		mode;
	uid_t		uid;
	gid_t		gid;
} Wanted;

static Wanted
wanted_of(const InitHost *host, PlaceKind kind)
{
	uid_t		self = geteuid();
	gid_t		group = getegid();

	switch (kind)
	{
		case PLACE_SECRET:
			return (Wanted) {0600, host->uid, host->gid};
		case PLACE_ROOT_SECRET:
			return (Wanted) {0600, self, group};
		case PLACE_SHARED:
			return (Wanted) {0640, self, host->root ? host->gid : group};
		default:
			return (Wanted) {0644, self, group};
	}
}

static int
fail(const char *what, const char *path)
{
	init_say(INIT_FAIL, "%s %s: %s", what, path, strerror(errno));
	return -1;
}

/* The new file beside its place; its name malloc'd, NULL with errno. */
static char *
write_beside(const char *path, const char *text, const Wanted *wanted)
{
	char	   *beside = xasprintf("%s.new%d", path, (int) getpid());
	int			fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int			rc = fd < 0 ? -1 : file_write_all(fd, text, strlen(text));
	int			reason;

	if (rc == 0 && geteuid() == 0)
		rc = fchown(fd, wanted->uid, wanted->gid);
	if (rc == 0)
		rc = fchmod(fd, wanted->mode);
	if (rc == 0)
		rc = fsync(fd);
	reason = errno;
	if (fd >= 0)
		close(fd);
	if (rc == 0)
		return beside;
	if (fd >= 0)
		unlink(beside);
	free(beside);
	errno = reason;
	return NULL;
}

/* 0, or -1 with errno. */
static int
put(const char *path, const char *text, const Wanted *wanted, bool replace)
{
	char	   *beside = write_beside(path, text, wanted);
	char	   *folder = xstrdup(path);
	int			rc = !beside ? -1 : replace ? rename(beside, path) : link(beside, path);
	int			reason = errno;

	if (beside && (rc < 0 || !replace))
		unlink(beside);
	if (rc == 0)
	{
		rc = file_fsync_path(dirname(folder));
		reason = errno;
	}
	free(folder);
	free(beside);
	errno = reason;
	return rc;
}

static int
correct_rights(const char *path, const Wanted *wanted, bool dry_run)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return fail("cannot look at", path);
	if ((st.st_mode & 07777) == wanted->mode && st.st_uid == wanted->uid)
		init_say(INIT_OK, "%s", path);
	else if (!S_ISREG(st.st_mode))
		init_say(INIT_TODO, "%s is no file: see to its rights yourself", path);
	else if (dry_run)
		init_say(INIT_WOULD, "%s: mode %03o", path, (unsigned) wanted->mode);
	else if ((geteuid() == 0 && lchown(path, wanted->uid, wanted->gid) < 0) || chmod(path, wanted->mode) < 0)
		return fail("cannot change the rights of", path);
	else
		init_say(INIT_MADE, "%s: mode %03o", path, (unsigned) wanted->mode);
	return 0;
}

/* What is there is kept beside it; a copy of an earlier time is not replaced. */
static int
keep_copy(const char *path)
{
	char	   *copy = xasprintf("%s.before-init", path);
	int			rc = file_exists(copy) ? 0 : file_copy(path, copy);

	if (rc < 0)
		fail("cannot copy to", copy);
	free(copy);
	return rc;
}

int
place_file(const InitHost *host, const char *path, const char *text, PlaceKind kind, bool replace, bool dry_run)
{
	Wanted		wanted = wanted_of(host, kind);
	char	   *present = file_read(path, PLACE_MAX, NULL);
	int			reason = errno;
	bool		same = present && strcmp(present, text) == 0;
	bool		there = present || reason != ENOENT;

	free(present);
	if (same)
		return correct_rights(path, &wanted, dry_run);
	if (there && !replace)
	{
		init_say(INIT_TODO, "%s exists, and differs: it is left as it is (--force replaces agent.ini)", path);
		return 0;
	}
	if (dry_run)
	{
		init_say(INIT_WOULD, "%s", path);
		return 0;
	}
	if ((there && keep_copy(path) < 0) || put(path, text, &wanted, there) < 0)
		return fail("cannot write", path);
	init_say(INIT_MADE, "%s%s", path, there ? " (the former one: .before-init)" : "");
	return 0;
}

int
place_folder(const InitHost *host, const char *path, bool own, bool dry_run)
{
	struct stat st;
	mode_t		mode = own || !host->root ? 0700 : 0750;

	if (stat(path, &st) == 0)
	{
		if (S_ISDIR(st.st_mode) && (st.st_mode & 022) == 0 && (!own || st.st_uid == host->uid))
			init_say(INIT_OK, "%s", path);
		else
			init_say(INIT_TODO, "%s must be a folder that only %s may change", path, own ? host->owner : "root");
		return 0;
	}
	if (dry_run)
		init_say(INIT_WOULD, "%s", path);
	else if (make_directory(path, mode) < 0 ||
			 (host->root && chown(path, own ? host->uid : 0, host->gid) < 0) || chmod(path, mode) < 0)
		return fail("cannot make", path);
	else
		init_say(INIT_MADE, "%s", path);
	return 0;
}

/* A link stays one: what it points to is replaced. */
int
place_edit(const InitHost *host, const char *path, const char *text)
{
	char	   *real = realpath(path, NULL);
	struct stat st;
	int			rc = real && stat(real, &st) == 0 ? keep_copy(real) : fail("cannot look at", path);

	(void) host;
	if (rc == 0 && put(real, text, &(Wanted) {st.st_mode & 07777, st.st_uid, st.st_gid}, true) < 0)
		rc = fail("cannot write", path);
	free(real);
	return rc;
}
