/*
 * files.c
 *		Whole files: read, write so that a crash leaves the old or the new content, copy, remove.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <linux/fs.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/files.h"

bool
file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

bool
file_exists_in(const char *directory, const char *name)
{
	char	   *path = xasprintf("%s/%s", directory, name);
	bool		exists = file_exists(path);

	free(path);
	return exists;
}

int
file_fsync_path(const char *path)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC);
	int			rc;

	if (fd < 0)
		return -1;
	rc = fsync(fd);
	close(fd);
	return rc;
}

static int
fsync_parent(const char *path)
{
	char	   *copy = xstrdup(path);
	int			rc = file_fsync_path(dirname(copy));

	free(copy);
	return rc;
}

int
file_write_all(int fd, const char *data, size_t size)
{
	while (size > 0)
	{
		ssize_t		n = write(fd, data, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		data += n;
		size -= n;
	}
	return 0;
}

/*
 * Temporary name, rename; durable: with fsync of the file and of its folder.  The
 * name is unique in the process, since several jobs may write the same file at once.
 */
int
file_write_atomic(const char *path, const char *data, size_t size, int mode, bool durable)
{
	static atomic_uint serial;
	char	   *temporary = xasprintf("%s.tmp%d.%u", path, (int) getpid(), atomic_fetch_add(&serial, 1));
	int			fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
	int			rc = -1;

	if (fd >= 0)
	{
		rc = fchmod(fd, mode);	/* whatever the umask says */
		if (rc == 0)
			rc = file_write_all(fd, data, size);
		if (rc == 0 && durable)
			rc = fsync(fd);
		if (close(fd) < 0)
			rc = -1;
		if (rc == 0)
			rc = rename(temporary, path);
		if (rc == 0 && durable)
			rc = fsync_parent(path);
		if (rc < 0)
		{
			int			save = errno;

			unlink(temporary);
			errno = save;
		}
	}
	free(temporary);
	return rc;
}

/* Blanks, really written: a hole, or a mere promise of the file system, would need its blocks later. */
int
file_reserve(const char *reserve, size_t size, int mode)
{
	char	   *blanks = xalloc(size);
	int			rc;

	memset(blanks, ' ', size);
	rc = file_write_atomic(reserve, blanks, size, mode, true);
	free(blanks);
	return rc;
}

/* All of it: a reserve that a killed agent began to use may hold more than `data`. */
static int
fill_reserve(const char *reserve, const char *data, size_t size)
{
	int			fd = open(reserve, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int			rc = -1;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && (size_t) st.st_size >= size)
	{
		char	   *all = xalloc(st.st_size + 1);

		memset(all, ' ', st.st_size);
		memcpy(all, data, size);
		rc = file_write_all(fd, all, st.st_size);
		free(all);
	}
	if (rc == 0)
		rc = fdatasync(fd);
	if (close(fd) < 0)
		rc = -1;
	return rc;
}

int
file_write_reserved(const char *path, const char *reserve, const char *data, size_t size, int mode)
{
	if (fill_reserve(reserve, data, size) < 0)
		return file_write_atomic(path, data, size, mode, true);
	if (rename(reserve, path) < 0)
		return -1;
	return fsync_parent(path);
}

int
file_write_renewed(const char *path, const char *reserve, const char *data, size_t size, size_t room, int mode)
{
	int			rc = file_write_reserved(path, reserve, data, size, mode);

	if (rc == 0)
		(void) file_reserve(reserve, room, mode);
	return rc;
}

/* Up to `size` bytes; fewer only where the file ends. What cannot be read is no end: -1. */
static ssize_t
read_all(int fd, char *data, size_t size)
{
	size_t		len = 0;

	while (len < size)
	{
		ssize_t		n = read(fd, data + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += n;
	}
	return (ssize_t) len;
}

char *
file_read(const char *path, size_t limit, size_t *size)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char	   *data = NULL;
	int			reason = 0;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) < 0)
		reason = errno;
	else if (!S_ISREG(st.st_mode) || (size_t) st.st_size > limit)
		reason = EFBIG;
	else
	{
		ssize_t		n;

		data = xalloc((size_t) st.st_size + 1);
		n = read_all(fd, data, (size_t) st.st_size);
		reason = n < 0 ? errno : 0;
		if (size && n >= 0)
			*size = (size_t) n;
	}
	close(fd);
	if (reason == 0)
		return data;
	free(data);
	errno = reason;
	return NULL;
}

char *
file_tail(const char *path, off_t from, size_t limit)
{
	int			fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char	   *data = NULL;
	ssize_t		n = -1;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
	{
		if (st.st_size > (off_t) limit && from < st.st_size - (off_t) limit)
			from = st.st_size - (off_t) limit;
		data = xalloc(limit + 1);
		n = pread(fd, data, limit, from);
	}
	close(fd);
	if (n < 0)
	{
		free(data);
		return NULL;
	}
	data[n] = '\0';
	return data;
}

/* Keeps mode and owner where that is allowed; the copy is durable. */
int
file_copy(const char *from, const char *to)
{
	struct stat st;
	size_t		size;
	char	   *data;
	int			rc;

	if (stat(from, &st) < 0 || !(data = file_read(from, FILE_COPY_MAX, &size)))
		return -1;
	rc = file_write_atomic(to, data, size, st.st_mode & 07777, true);
	free(data);
	if (rc == 0 && geteuid() == 0 && chown(to, st.st_uid, st.st_gid) < 0)
		rc = -1;
	return rc;
}

int
file_clone(const char *from, const char *to)
{
	int			source = open(from, O_RDONLY | O_CLOEXEC);
	int			copy = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int			rc = source >= 0 && copy >= 0 ? ioctl(copy, FICLONE, source) : -1;
	int			reason = errno;

	if (source >= 0)
		close(source);
	if (copy >= 0)
		close(copy);
	errno = reason;
	return rc;
}

int
make_directory(const char *path, int mode)
{
	char	   *copy = xstrdup(path);
	int			rc = 0;

	for (char *p = copy + 1; rc == 0 && *p; p++)
		if (*p == '/')
		{
			*p = '\0';
			rc = mkdir(copy, mode) < 0 && errno != EEXIST ? -1 : 0;
			*p = '/';
		}
	if (rc == 0)
		rc = mkdir(copy, mode) < 0 && errno != EEXIST ? -1 : 0;
	free(copy);
	return rc;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

/* Does not follow symbolic links: only the tree itself goes. */
int
remove_tree(const char *path)
{
	if (!file_exists(path))
		return 0;
	return nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}
