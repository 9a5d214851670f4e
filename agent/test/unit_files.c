/*
 * unit_files.c
 *		What is kept in files: a file that cannot be read is neither an empty nor a missing one.
 *
 * read() and pidfd_open() of the whole program are ours, so that they can fail.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/core/alloc.h"
#include "agent/core/clock.h"
#include "agent/core/config.h"
#include "agent/core/files.h"
#include "agent/core/leftovers.h"
#include "agent/job/child.h"
#include "agent/job/epoch.h"
#include "agent/job/job.h"
#include "agent/pg/datadir.h"
#include "agent/pg/originals.h"
#include "agent/pg/postmaster.h"
#include "agent/pg/serverlog.h"
#include "agent/route/endpoint.h"
#include "agent/route/pause.h"
#include "agent/test/unit.h"
#include "agent/upgrade/folder.h"

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

static bool no_pidfd;

extern int	our_pidfd_open(pid_t pid, unsigned flags) __asm__("pidfd_open");

int
our_pidfd_open(pid_t pid, unsigned flags)
{
	if (no_pidfd)
	{
		errno = EMFILE;
		return -1;
	}
	return (int) syscall(SYS_pidfd_open, pid, flags);
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

	ok(epoch_read(directory, &epoch, error, sizeof(error)) == 0 && epoch == 0, "no epoch yet");
	write_text(path, "7\n");
	ok(epoch_read(directory, &epoch, error, sizeof(error)) == 0 && epoch == 7, "an epoch");
	reads_end(EIO, 0, 1000);
	ok(epoch_read(directory, &epoch, error, sizeof(error)) < 0, "an epoch that cannot be read is not none");
	reads_end(0, 0, 0);
	write_text(path, "x\n");
	ok(epoch_read(directory, &epoch, error, sizeof(error)) < 0, "nor is one that is no number");
	free(path);
}

static const Original nothing;

static int
keep(const PgInstance *pg, const Original *seen, const char *now, const char *ours)
{
	return original_keep(pg, "wal_init_zero", seen, now, "7", ours);
}

static void
test_originals_unread(const PgInstance *pg)
{
	Original	original;

	reads_end(EIO, 0, 1000);
	ok(keep(pg, &nothing, "on", "off") < 0 && errno == EIO, "a person's line that cannot be read is not forgotten");
	reads_end(0, 0, 0);
	ok(original_read(pg, "wal_init_zero", &original) == 0, "so nothing is remembered");
	original_free(&original);
	ok(keep(pg, &nothing, "on", "off") == 0, "a value is remembered");
	reads_end(EIO, 0, 1000);
	ok(original_read(pg, "wal_init_zero", &original) < 0, "what cannot be read is not forgotten");
	original_free(&original);
	ok(keep(pg, &nothing, "off", "off") < 0, "and not written over");
	reads_end(0, 0, 0);
	ok(original_read(pg, "wal_init_zero", &original) == 1 && strcmp(original.value, "on") == 0 &&
	   original.line && strcmp(original.line, "on") == 0, "it is read later on");
	ok(keep(pg, &nothing, "off", "off") == 1, "another job was faster: look again");
	ok(keep(pg, &original, "off", "maybe") == 0, "a second value of ours");
	original_forget(pg, "wal_init_zero", &original);
	original_free(&original);
	ok(original_read(pg, "wal_init_zero", &original) == 1 && strcmp(original.value, "on") == 0,
	   "what another job has changed is not forgotten, and has its first original");
	original_free(&original);
}

/* The parts of pg_control that we read */
static void
write_control(const char *directory, uint64_t system, uint32_t catalog, int32_t state)
{
	char	   *path = xasprintf("%s/global/pg_control", directory);
	char	   *folder = xasprintf("%s/global", directory);
	char		bytes[512] = "";

	memcpy(bytes, &system, sizeof(system));
	memcpy(bytes + 12, &catalog, sizeof(catalog));
	memcpy(bytes + 16, &state, sizeof(state));
	make_directory(folder, 0700);
	file_write_atomic(path, bytes, sizeof(bytes), 0600, false);
	free(folder);
	free(path);
}

static void
test_standby(const char *directory)
{
	char	   *data = xasprintf("%s/standby", directory);
	char	   *wal = xasprintf("%s/pg_wal", data);
	char	   *version = xasprintf("%s/PG_VERSION", data);
	char	   *signal_file = xasprintf("%s/standby.signal", data);

	write_control(data, 4711, 202209061, DATA_IN_ARCHIVE_RECOVERY);
	write_text(version, "15\n");
	write_text(signal_file, "");
	ok(!datadir_is_standby_of(data, "4711", 0), "what has no pg_wal that can be read may have been promoted");
	make_directory(wal, 0700);
	ok(datadir_is_standby_of(data, "4711", 0), "a standby, by its files");
	free(signal_file);
	free(version);
	free(wal);
	free(data);
}

/* A data directory of that major with a tablespace in that location, where it has a table. */
static char *
make_data(const char *directory, const char *name, const char *location, const char *major, uint32_t catalog)
{
	char	   *data = xasprintf("%s/%s", directory, name);
	char	   *version = xasprintf("%s/PG_VERSION", data);
	char	   *spaces = xasprintf("%s/pg_tblspc", data);
	char	   *link = xasprintf("%s/16400", spaces);
	char	   *folder = xasprintf("%s/PG_%s_%u", location, major, catalog);
	char	   *table = xasprintf("%s/16401", folder);

	write_control(data, catalog, catalog, DATA_SHUTDOWNED);
	write_text(version, major);
	make_directory(spaces, 0700);
	make_directory(folder, 0700);
	write_text(table, "rows");
	if (symlink(location, link) < 0)
		ok(false, "a link");
	free(table);
	free(folder);
	free(link);
	free(spaces);
	free(version);
	return data;
}

static void
remove_in(const char *folder, const char *name)
{
	char	   *path = xasprintf("%s/%s", folder, name);

	remove_tree(path);
	free(path);
}

static void
rename_in(const char *data, const char *from, const char *to)
{
	char	   *source = xasprintf("%s/%s", data, from);
	char	   *target = xasprintf("%s/%s", data, to);

	if (rename(source, target) < 0)
		ok(false, from);
	free(target);
	free(source);
}

/* Of what two servers have in one location only the one's goes, and only where it is known which that is. */
static void
test_emptying(const char *directory)
{
	char	   *location = xasprintf("%s/location", directory);
	char	   *stranger = xasprintf("%s/PG_18_202502141", location);
	char	   *old = make_data(directory, "old", location, "15", 202209061);
	char	   *new = make_data(directory, "new", location, "18", 202506291);
	char	   *inside = xasprintf("%s/inside", new);
	char	   *link = xasprintf("%s/pg_tblspc/16500", old);
	PgInstance	pg = {.data = old, .name = ""};
	JobError	error = {0};
	ActionContext ctx = {.pg = &pg, .error = &error};

	make_directory(stranger, 0700);
	make_directory(inside, 0700);
	if (symlink(inside, link) < 0)
		ok(false, "a link");
	ok(folder_clear(&ctx, new, old) < 0 && file_exists_in(location, "PG_18_202506291") &&
	   file_exists_in(new, "PG_VERSION"), "emptying: not with a tablespace of the other server in it");
	unlink(link);
	rename_in(new, "PG_VERSION", "away");
	ok(folder_clear(&ctx, new, old) < 0 && file_exists_in(location, "PG_18_202506291"),
	   "emptying: not where its folders are not known");
	rename_in(new, "away", "PG_VERSION");
	ok(folder_clear(&ctx, new, old) == 0 && folder_is_empty(new), "emptying: the data directory");
	ok(!file_exists_in(location, "PG_18_202506291"), "emptying: and its folder in the location");
	ok(file_exists_in(location, "PG_15_202209061") && file_exists_in(location, "PG_18_202502141"),
	   "emptying: but nobody else's");

	/* broken off between a folder and its link, and where pg_upgrade has begun to link */
	free(new);
	new = make_data(directory, "new", location, "18", 202506291);
	remove_in(location, "PG_15_202209061");
	rename_in(old, "global/pg_control", "global/pg_control.old");
	ok(folder_clear(&ctx, old, new) == 0 && folder_is_empty(old), "emptying: again, of a server that was linked");
	ok(file_exists_in(location, "PG_18_202506291") && file_exists_in(location, "PG_18_202502141"),
	   "emptying: and nobody else's again");
	action_forget_error(&ctx);
	free(link);
	free(inside);
	free(new);
	free(old);
	free(stranger);
	free(location);
}

static void
test_originals_ours(const PgInstance *pg, const char *conf)
{
	Original	original;

	original_read(pg, "wal_init_zero", &original);
	original_forget(pg, "wal_init_zero", &original);
	original_free(&original);
	write_text(conf, "wal_init_zero = 'on'\n");
	ok(keep(pg, &nothing, "on", "off") == 0 && original_read(pg, "wal_init_zero", &original) == 1,
	   "a change is noted");
	ok(original_is_ours(pg, "wal_init_zero", &original) == 0, "not yet made, or put back: nothing of ours");
	write_text(conf, "wal_init_zero = 'off'\n");
	ok(original_is_ours(pg, "wal_init_zero", &original) == 1, "made: it is ours");
	write_text(conf, "wal_init_zero = 'maybe'\n");
	ok(original_is_ours(pg, "wal_init_zero", &original) == 0, "a person has set it since");
	write_text(conf, "wal_init_zero = 'off'\n");
	reads_end(EIO, 0, 1000);
	ok(original_is_ours(pg, "wal_init_zero", &original) < 0, "whose it is cannot be read");
	reads_end(0, 0, 0);
	write_control(pg->data, 4712, 202209061, DATA_IN_PRODUCTION);
	ok(original_is_ours(pg, "wal_init_zero", &original) == 0, "another cluster");
	original_free(&original);
}

static void
test_originals(const char *directory)
{
	char	   *settings = xasprintf("%s/settings", directory);
	PgInstance	pg = {.state_dir = directory, .settings_dir = settings, .data = (char *) directory};
	char	   *conf = xasprintf("%s/postgresql.auto.conf", directory);

	write_text(conf, "wal_init_zero = 'on'\n");
	write_control(directory, 4711, 202209061, DATA_IN_PRODUCTION);
	test_originals_unread(&pg);
	test_originals_ours(&pg, conf);
	free(conf);
	free(settings);
}

static void
test_pause_end(void)
{
	PauseEnd	end = pause_end_in(5000);
	PauseEnd	set_back = end;
	PauseEnd	set_ahead = end;
	PauseEnd	rebooted = end;
	PauseEnd	old = {.real_ms = end.real_ms};

	set_back.real_ms += 3600000;	/* seen from a clock that was set back by an hour */
	set_ahead.real_ms -= 3600000;
	snprintf(rebooted.boot_id, sizeof(rebooted.boot_id), "another life");
	ok(pause_left_ms(&end) > 0 && pause_left_ms(&end) <= 5000, "a pause has an end");
	ok(pause_left_ms(&set_back) <= 5000, "which a clock that is set back does not put off");
	ok(pause_left_ms(&set_ahead) <= 0, "the earlier one counts");
	ok(pause_left_ms(&rebooted) <= 0, "it does not outlast the host");
	ok(pause_left_ms(&old) > 0, "without a second clock the first one counts");
}

static void
test_leftovers(const char *directory)
{
	static const char *const names[] = {
		"epoch.tmp7.0", "token/9.json.tmp123.45", "jobs/9/a.json.tmp1.2", "data/postgresql.auto.conf.tmp12.3",
		"settings/a.json.tmp1.2",
		/* these stay */
		"epoch.tmp7", "token/x.tmp1.2.json", "data/some.tmp1.2", "jobs/9/a.json.tmp1.2x",
		"data/postgresql.auto.conf.tmp"
	};
	char	   *data = xasprintf("%s/left/data", directory);
	char	   *state = xasprintf("%s/left", directory);
	char	   *settings = xasprintf("%s/left/settings", directory);
	PgInstance	pg = {.data = data, .settings_dir = settings};
	AgentConfig config = {.state_dir = state, .instances = &pg, .n_instances = 1};
	bool		right = true;

	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		{
			char	   *path = xasprintf("%s/%s", state, names[i]);
			char	   *copy = xstrdup(path);

			*strrchr(copy, '/') = '\0';
			make_directory(copy, 0700);
			if (round == 0)
				write_text(path, "x");
			else
				right &= file_exists(path) == (i >= 5);
			if (round == 0 && i + 1 == sizeof(names) / sizeof(names[0]))
				leftovers_remove(&config);
			free(copy);
			free(path);
		}
	ok(right, "what killed agents have left half written is removed, and nothing else");
	free(settings);
	free(state);
	free(data);
}

static void
append_text(const char *path, const char *text)
{
	FILE	   *file = fopen(path, "a");

	if (file)
	{
		fputs(text, file);
		fclose(file);
	}
}

static void
test_complaints(void)
{
	static const char *const data[] = {
		"FATAL:  requested timeline 3 is not a child of this server's history",
		"FATAL:  could not locate required checkpoint record at 0/5000028",
		"PANIC:  could not locate a valid checkpoint record",
		"FATAL:  could not receive data from WAL stream: ERROR:  requested WAL segment 000000010000000000000003 "
		"has already been removed", "FATAL:  WAL ends before consistent recovery point",
		"FATAL:  incorrect checksum in control file",
		"FATAL:  could not open file \"pg_wal/000000010000000000000003\": No such file or directory",
	};
	static const char *const other[] = {
		"FATAL:  WAL archival cannot be enabled when wal_level is \"minimal\"",
		"FATAL:  WAL streaming (\"max_wal_senders\" > 0) requires \"wal_level\" to be \"replica\" or \"logical\"",
		"FATAL:  could not create lock file \"postmaster.pid\": No space left on device",
		"PANIC:  could not write to file \"pg_wal/xlogtemp.7\": No space left on device",
		"FATAL:  recovery target timeline 7 does not exist",
		"FATAL:  data directory \"/d\" has invalid permissions",
		"FATAL:  could not access file \"nothing\": No such file or directory",
		"FATAL:  recovery aborted because of insufficient parameter settings",
	};

	for (size_t i = 0; i < sizeof(data) / sizeof(data[0]); i++)
		ok(serverlog_is_about_data(data[i]), data[i]);
	for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++)
		ok(!serverlog_is_about_data(other[i]), other[i]);
	is(serverlog_complaint("2026-11-26 02:00:00 UTC [7] FATAL:  a b"), "FATAL:  a b", "a complaint on stderr");
	is(serverlog_complaint("2026-11-26 02:00:00 UTC,,,7,,x,1,,2026-11-26,,0,FATAL,XX000,\"a \"\"b\"\" "
						   "c\",,,,,,,,,\"\",\"startup\""),
	   "FATAL:  a \"b\" c", "a complaint in csvlog");
	is(serverlog_complaint("{\"pid\":7,\"error_severity\":\"PANIC\",\"state_code\":\"XX000\","
						   "\"message\":\"a \\\"b\\\" c\",\"x\":1}"),
	   "PANIC:  a \"b\" c", "a complaint in jsonlog");
	is(serverlog_complaint("[7] LOG:  starting PostgreSQL"), NULL, "no complaint");
	is(serverlog_complaint("[7] FATAL:  the database system is starting up"), NULL, "what a client was told is none");
	is(serverlog_complaint("[7] FATAL:  could not connect to the primary server: FATAL:  password "
						   "authentication failed for user \"r\""),
	   "FATAL:  could not connect to the primary server: FATAL:  password authentication failed for user \"r\"",
	   "but what we were told as a client is one");
}

static void
test_server_log(const char *directory)
{
	char	   *own = xasprintf("%s/server.log", directory);
	char	   *names = xasprintf("%s/current_logfiles", directory);
	char	   *collected = xasprintf("%s/some.log", directory);
	PgInstance	pg = {.data = (char *) directory, .log = own};

	write_text(own, "LOG:  starting PostgreSQL 15\nFATAL:  of an earlier life\n");
	is(serverlog_last_words(&pg), "FATAL:  of an earlier life",
	   "without a start of ours, what comes behind the last one");
	serverlog_mark(&pg);
	is(serverlog_last_words(&pg), NULL, "words of an earlier life are not those of this one");
	append_text(own, "FATAL:  of this life\n");
	is(serverlog_last_words(&pg), "FATAL:  of this life", "words since the start");
	ok(!serverlog_blames_data(&pg), "which are not about data");

	write_text(collected, "LOG:  starting PostgreSQL 15\nPANIC:  of an earlier life\n");
	write_text(names, "stderr some.log\n");
	serverlog_mark(&pg);
	append_text(collected, "FATAL:  the earlier one again\n");
	is(serverlog_last_words(&pg), NULL, "a server that came not so far as to collect has not written there");
	write_text(names, "stderr some.log\n");
	append_text(collected, "FATAL:  requested timeline 3 is not a child of this server's history\nFATAL:  another\n");
	is(serverlog_last_words(&pg), "FATAL:  another", "words that were collected");
	ok(serverlog_blames_data(&pg), "of which one is about data");
	free(collected);
	free(names);
	free(own);
}

/* A child that cannot be watched by a descriptor ends all the same, by itself and by its time. */
static void
test_child(void)
{
	double		start = clock_monotonic_ms();
	char		text[16];

	no_pidfd = true;
	ok(child_run_text((char *[]) {"/bin/echo", "7", NULL}, 60000, text, sizeof(text)) == 0 &&
	   strcmp(text, "7\n") == 0, "without a descriptor for it, the end of a child is seen");
	ok(child_run_quietly((char *[]) {"/bin/sh", "-c", "exit 3", NULL}, 60000) == 3, "with its status");
	ok(child_run_quietly((char *[]) {"/bin/sleep", "60", NULL}, 50) == -1, "and it is ended in time");
	ok(clock_monotonic_ms() - start < 30000, "all of that at once");
	no_pidfd = false;
}

static pid_t
run_in(const char *program, const char *directory)
{
	char	   *real = realpath(program, NULL);
	pid_t		pid = fork();

	if (pid == 0)
	{
		if (chdir(directory) == 0)
			execl(program, program, "60", NULL);
		_exit(127);
	}
	/* until it is that program */
	for (int i = 0; i < 5000 && pid > 0; i++)
	{
		char	   *link = xasprintf("/proc/%d/exe", (int) pid);
		char		exe[4096] = "";

		if (readlink(link, exe, sizeof(exe) - 1) > 0 && real && strcmp(exe, real) == 0)
			i = 5000;
		free(link);
		sleep_ms(2);
	}
	free(real);
	return pid;
}

/* That lifts seals and moves directories: it needs proof, not the absence of a file. */
static void
test_gone(const char *directory)
{
	char	   *data = xasprintf("%s/gone", directory);
	char	   *program = xasprintf("%s/postgres", directory);
	char	   *pidfile = xasprintf("%s/postmaster.pid", data);
	pid_t		pid;

	ok(postmaster_gone(data), "gone: there is no directory");
	make_directory(data, 0700);
	ok(postmaster_gone(data), "gone: nobody works there");
	ok(file_copy("/bin/sleep", program) == 0 && chmod(program, 0700) == 0, "a program of that name");
	pid = run_in(program, data);
	ok(!postmaster_gone(data), "not gone: a server works there, without postmaster.pid");
	ok(file_write_atomic(pidfile, "999999999\n", 10, 0600, false) == 0 && !postmaster_gone(data),
	   "nor with another number in it");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	ok(postmaster_gone(data), "gone: it has ended");
	reads_end(EIO, 0, 1);
	ok(!postmaster_gone(data), "not gone: postmaster.pid cannot be read");
	reads_end(0, 0, 0);
	pid = run_in("/bin/sleep", data);
	ok(postmaster_gone(data), "gone: what works there is no server");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	free(pidfile);
	free(program);
	free(data);
}

void
test_files(const char *directory)
{
	test_gone(directory);
	test_read(directory);
	test_epoch(directory);
	test_originals(directory);
	test_pause_end();
	test_standby(directory);
	test_emptying(directory);
	test_complaints();
	test_server_log(directory);
	test_child();
	test_leftovers(directory);
}
