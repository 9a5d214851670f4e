/*
 * unit_files.c
 *		What is kept in files: a file that cannot be read is neither an empty nor a missing one.
 *
 * read() of the whole program is ours, so that it can fail.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "agent/jobs.h"
#include "agent/originals.h"
#include "agent/test/unit.h"

static int	read_error;			/* errno of the reads that fail, 0: none does */
static int	reads_left;			/* that go well before */
static int	reads_fail;			/* then as many fail */

extern ssize_t our_read(int fd, void *buffer, size_t size) __asm__("read");

ssize_t
our_read(int fd, void *buffer, size_t size)
{
	if (read_error && reads_left-- <= 0 && reads_fail-- > 0)
	{
		errno = read_error;
		return -1;
	}
	/* in pieces, as a network file system may do */
	return syscall(SYS_read, fd, buffer, read_error && size > 5 ? 5 : size);
}

static void
reads_end(int error, int after, int how_many)
{
	read_error = error;
	reads_left = after;
	reads_fail = how_many;
}

static void
write_text(const char *path, const char *text)
{
	file_write_atomic(path, text, strlen(text), 0600, false);
}

static void
test_read(const char *directory)
{
	char	   *path = xasprintf("%s/some", directory);
	char	   *copy = xasprintf("%s/copy", directory);
	char	   *text;

	ok(file_read(path, 100, NULL) == NULL && errno == ENOENT, "a file that is not there");
	ok(file_read(directory, 100, NULL) == NULL && errno == EFBIG, "a folder is no file");
	write_text(path, "0123456789");
	ok(file_read(path, 9, NULL) == NULL && errno == EFBIG, "a file that is too large");
	reads_end(EINTR, 1, 2);
	is(file_read(path, 100, NULL), "0123456789", "an interrupted read goes on");
	reads_end(EIO, 1, 1000);
	text = file_read(path, 100, NULL);
	ok(text == NULL && errno == EIO, "half a file is none, and the reason is known");
	free(text);
	reads_end(EIO, 1, 1000);
	ok(file_copy(path, copy) < 0 && !file_exists(copy), "and is not copied");
	reads_end(0, 0, 0);
	free(copy);
	free(path);
}

static void
test_epoch(const char *directory)
{
	char	   *path = xasprintf("%s/epoch", directory);
	char		error[512];
	int64_t		epoch = -1;

	ok(journal_read_epoch(directory, &epoch, error, sizeof(error)) == 0 && epoch == 0, "no epoch yet");
	write_text(path, "7\n");
	ok(journal_read_epoch(directory, &epoch, error, sizeof(error)) == 0 && epoch == 7, "an epoch");
	reads_end(EIO, 0, 1000);
	ok(journal_read_epoch(directory, &epoch, error, sizeof(error)) < 0, "an epoch that cannot be read is not none");
	reads_end(0, 0, 0);
	write_text(path, "x\n");
	ok(journal_read_epoch(directory, &epoch, error, sizeof(error)) < 0, "nor is one that is no number");
	free(path);
}

static void
test_originals(const char *directory)
{
	AgentConfig config = {.state_dir = (char *) directory,.pg = {.data = (char *) directory}};
	char	   *conf = xasprintf("%s/postgresql.auto.conf", directory);
	Original	original;

	write_text(conf, "wal_init_zero = 'on'\n");
	reads_end(EIO, 0, 1000);
	ok(original_keep(&config, "wal_init_zero", "on") < 0 && errno == EIO, "a person's line that cannot be read is not forgotten");
	reads_end(0, 0, 0);
	ok(original_read(&config, "wal_init_zero", &original) == 0, "so nothing is remembered");
	original_free(&original);
	ok(original_keep(&config, "wal_init_zero", "on") == 0, "a value is remembered");
	reads_end(EIO, 0, 1000);
	ok(original_read(&config, "wal_init_zero", &original) < 0, "what cannot be read is not forgotten");
	original_free(&original);
	ok(original_keep(&config, "wal_init_zero", "off") < 0, "and not written over");
	reads_end(0, 0, 0);
	ok(original_read(&config, "wal_init_zero", &original) == 1 && strcmp(original.value, "on") == 0 &&
	   original.line && strcmp(original.line, "on") == 0, "it is read later on");
	original_free(&original);
	free(conf);
}

void
test_files(const char *directory)
{
	test_read(directory);
	test_epoch(directory);
	test_originals(directory);
}
