/*
 * files.h
 *		Whole files; all return 0, or -1 with errno set.
 */
#ifndef PINGPONG_AGENT_CORE_FILES_H
#define PINGPONG_AGENT_CORE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

extern int	file_write_atomic(const char *path, const char *data, size_t size, int mode, bool durable);

/*
 * Room for a later file_write_reserved(), made now: that one needs no new block on the disk. It takes the reserve and
 * is durable; without a reserve, or for more data than it has room for, it is file_write_atomic().
 */
extern int	file_reserve(const char *reserve, size_t size, int mode);
extern int	file_write_reserved(const char *path, const char *reserve, const char *data, size_t size, int mode);

/*
 * The same for a file that is written again and again: after it there is a reserve of `room` bytes for the next time.
 * On a full disk its block is that of what was replaced; if somebody else takes that, there is none.
 */
extern int	file_write_renewed(const char *path, const char *reserve, const char *data, size_t size, size_t room,
							   int mode);
extern int	file_write_all(int fd, const char *data, size_t size);
/*
 * The whole file, malloc'd, NUL after it; or NULL with errno, never a part of it. ENOENT: there is none. EFBIG: it
 * has more than `limit` bytes, or is not a file. What else may be is not the same as "there is none".
 */
extern char *file_read(const char *path, size_t limit, size_t *size);
/* Its last bytes, not before `from`, of any size of file; malloc'd or NULL */
extern char *file_tail(const char *path, off_t from, size_t limit);
extern int	file_fsync_path(const char *path);
#define FILE_COPY_MAX (64 * 1024 * 1024)
extern int	file_copy(const char *from, const char *to);
/* `to` is new, and shares its blocks with `from`. -1 with errno, also where the file system has no reflinks. */
extern int	file_clone(const char *from, const char *to);
extern int	make_directory(const char *path, int mode);	/* with its parents; existing is fine */
extern int	remove_tree(const char *path);
extern bool file_exists(const char *path);
extern bool file_exists_in(const char *directory, const char *name);

#endif							/* PINGPONG_AGENT_CORE_FILES_H */
